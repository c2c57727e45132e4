"""Directories and buckets: what keeps the files of a lake."""
