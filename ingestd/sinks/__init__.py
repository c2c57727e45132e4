"""Rows and dead letters into tables, inside a transaction that a store opened."""
