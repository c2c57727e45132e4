"""Random histories on a real store, compared with a sequential reference. Knows no Kafka."""
