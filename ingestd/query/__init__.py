"""Tables of the store, read only and shown: as a table for people, CSV or JSON."""
