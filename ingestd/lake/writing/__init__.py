"""Decoded rows into staged Parquet files."""
