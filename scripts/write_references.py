"""Writes the generated reference pages; knows nothing of what is in them."""

from pathlib import Path

from ingestd.reference import api as api_reference
from ingestd.reference import cli as cli_reference
from ingestd.reference import config as config_reference
from ingestd.reference import metrics as metrics_reference

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """The generated pages of docs as the code says now."""
    pages = {
        "api.md": api_reference.render,
        "config.md": config_reference.render,
        "metrics.md": metrics_reference.render,
        "cli.md": cli_reference.render,
    }
    for name, render in pages.items():
        (DOCS / name).write_text(render(), encoding="utf-8")
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
