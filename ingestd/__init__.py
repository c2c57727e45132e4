"""ingestd: Kafka records into PostgreSQL, exactly once, from one TOML file."""

__version__ = "0.1.0"
