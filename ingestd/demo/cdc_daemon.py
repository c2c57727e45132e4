"""The daemon's configuration for the change data demo, and Debezium's. Knows nothing of what runs."""

from ingestd.embedded.debezium_source import DebeziumSource

CONNECTOR = "shop"
PARTITIONS = 2
CONFIG = """[kafka]
bootstrap_servers = "{bootstrap_servers}"
group_id = "ingestd-demo"

[store]
url = "{store_url}"

[status]
listen = "127.0.0.1:{status_port}"

[[pipeline]]
name = "customers"
topic = "shop.public.customers"
column = [
  {{ name = "id", type = "int8", required = true }},
  {{ name = "name", type = "text", required = true }},
  {{ name = "email", type = "text" }},
  {{ name = "credit", type = "numeric(12,2)", required = true }},
  {{ name = "profile", type = "jsonb" }},
  {{ name = "since", type = "date", required = true }},
]
table = {{ name = "public.customers", mode = "upsert", key = ["id"], create = true }}
cdc = {{}}

[[pipeline]]
name = "orders"
topic = "shop.public.orders"
column = [
  {{ name = "id", type = "int8", required = true }},
  {{ name = "customer_id", type = "int8", required = true }},
  {{ name = "status", type = "text", required = true }},
  {{ name = "amount", type = "numeric(12,2)", required = true }},
  {{ name = "note", type = "text" }},
  {{ name = "placed_at", type = "timestamptz", required = true }},
  {{ name = "updated_at", type = "timestamptz" }},
]
table = {{ name = "public.orders", mode = "upsert", key = ["id"], create = true }}
cdc = {{}}
"""
"""A copy of each table of the source."""


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
