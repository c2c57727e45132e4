"""The ledger and the one transaction that commits rows and cursor together."""
