"""Whether there is a DuckDB. Loads nothing."""

from importlib.util import find_spec

from ingestd.errors import StartupError


def require_duckdb() -> None:
    """Raises: StartupError with the command that installs it."""
    if find_spec("duckdb") is None:
        raise StartupError("a lake is read with DuckDB, which is not installed; run: pip install 'ingestd[lake]'")
