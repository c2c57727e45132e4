"""Rows into PostgreSQL tables: COPY, the ways when rows are refused, gates and upserts."""
