"""The SQL statements of the ledger, read by name from sql/ledger.sql. Knows nothing of connections."""

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(file: str = "ledger.sql") -> dict[str, bytes]:
    """Statement text by name, comments dropped, as bytes (psycopg takes bytes as trusted SQL)."""
    text = resources.files("ingestd").joinpath("sql", file).read_text()
    parts = _NAME.split(text)[1:]
    statements = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in body.splitlines() if line.strip() and not line.startswith("--")]
        statements[name] = "\n".join(lines).encode()
    return statements


SQL = load_statements()
"""The statements of the PostgreSQL ledger."""

LETTERS = load_statements("dead_letters.sql")
"""Those on single dead letters."""
