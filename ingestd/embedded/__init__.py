"""A real Kafka broker and a real PostgreSQL server on loopback, from packages alone."""
