"""The statements of the PostgreSQL ledger, by name. Knows nothing of connections."""

from ingestd.stores.statements import load_statements

SQL = load_statements("ledger.sql")

LETTERS = load_statements("dead_letters.sql")
"""Those on single dead letters."""
