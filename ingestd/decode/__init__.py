"""From the bytes of records to Arrow columns and dead letters; pure."""
