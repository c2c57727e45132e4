"""SQL statements read by name from the files of `ingestd.sql`. Knows no connection and no database."""

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_statements(file: str) -> dict[str, bytes]:
    """Statement text by name, comments dropped, as bytes (psycopg takes bytes as trusted SQL)."""
    text = resources.files("ingestd").joinpath("sql", file).read_text()
    parts = _NAME.split(text)[1:]
    statements = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = [line for line in body.splitlines() if line.strip() and not line.startswith("--")]
        statements[name] = "\n".join(lines).encode()
    return statements
