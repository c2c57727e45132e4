"""Debezium's change events as rows."""
