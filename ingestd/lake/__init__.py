"""The lake: Parquet files of a pipeline's good records, exactly once. Knows no Kafka client.

A file is written as a staged one, which no reader sees; the transaction that moves the lake's cursor names it in the
manifest; then it is settled, that is, it takes its place among the others. Every step may be repeated by anybody.
"""
