"""Writes the generated reference pages; knows nothing of what is in them."""

from pathlib import Path

from ingestd import cli_reference, config_reference, metrics_reference

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """docs/config.md, docs/metrics.md and docs/cli.md as the code says now."""
    pages = {
        "config.md": config_reference.render,
        "metrics.md": metrics_reference.render,
        "cli.md": cli_reference.render,
    }
    for name, render in pages.items():
        (DOCS / name).write_text(render(), encoding="utf-8")
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
