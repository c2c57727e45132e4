"""Producing load and measuring ingestd; nothing in `ingestd` imports from here."""
