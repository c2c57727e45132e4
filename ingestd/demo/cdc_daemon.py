"""The daemon's configuration for the change data demo, and Debezium's. Knows nothing of what runs."""

from ingestd.embedded.debezium_source import DebeziumSource

CONNECTOR = "shop"
PARTITIONS = 2
COPIES = """[[pipeline]]
name = "copies"
topic = "shop.public.*"
cdc = { columns = "from_events" }
table = { name = "{schema}.{table}", mode = "upsert", create = true }
"""
"""A copy of each table of the source: names, types and keys come from the events."""


def shop_source(source_url: str) -> DebeziumSource:
    """What Debezium is told of the shop: both tables, first as they are, then every change."""
    return DebeziumSource(
        CONNECTOR,
        source_url,
        tables=(r"public\.(customers|orders)",),
        prefix="shop",
        partitions=PARTITIONS,
        schemas=True,
    )
