"""Kafka partitions as chunks, from exact offsets."""
