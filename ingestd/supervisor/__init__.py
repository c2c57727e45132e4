"""The parent of all processes; loads no Kafka, database or Arrow library."""
