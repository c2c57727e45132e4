"""PostgreSQL as the store: sessions, ledger, dead letters, and whether a table fits."""
