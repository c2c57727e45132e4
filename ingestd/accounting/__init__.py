"""Whether every offset of a pipeline is accounted for, from the ledger, the tables and, if asked, the log itself."""
