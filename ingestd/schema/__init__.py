"""The types of a contract, and how values of each go into PostgreSQL and SQLite."""
