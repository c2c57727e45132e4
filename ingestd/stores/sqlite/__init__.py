"""An SQLite file as the store: turns, ledger, dead letters, and whether a table fits."""
