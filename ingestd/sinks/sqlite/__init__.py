"""Rows into the tables of an SQLite file."""
