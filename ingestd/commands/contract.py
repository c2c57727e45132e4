"""`ingestd contract export|import`: contracts as JSON Schema and back. Connects to nothing."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from ingestd.commands.arguments import add_config, add_pipeline, one_pipeline
from ingestd.config.file import load
from ingestd.errors import ConfigError, ExitCode


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `contract` with its two verbs."""
    parser = subparsers.add_parser("contract", help="a pipeline's contract as JSON Schema, or columns out of one")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="export|import")
    export = verbs.add_parser(
        "export",
        help="print the contract as JSON Schema (draft 2020-12)",
        description=(
            "Print the contract as JSON Schema (draft 2020-12): one schema, or an array with one for each version. "
            'What JSON Schema cannot say stands under "x-ingestd".'
        ),
    )
    add_config(export)
    add_pipeline(export)
    export.add_argument("--contract-version", metavar="VERSION", help="only this version of the contract")
    take = verbs.add_parser(
        "import",
        help="print [[pipeline.column]] tables for a JSON Schema",
        description=(
            "Print [[pipeline.column]] tables for the JSON Schema of an object, with a comment for everything that "
            "columns cannot express."
        ),
    )
    take.add_argument("schema", type=Path, metavar="SCHEMA.json", help='the schema; "-" reads standard input')
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print schema or columns. Raises: ConfigError for a file that is wrong or has no such pipeline or version."""
    return _export(args) if args.verb == "export" else _import(args.schema)


def _export(args: argparse.Namespace) -> int:
    from ingestd.contract.exporting import schemas_of

    config = load(args.config)
    pipeline = one_pipeline(config, args.pipeline)
    schemas = schemas_of(pipeline)
    shown: Any = schemas if len(schemas) > 1 else schemas[0]
    if args.contract_version is not None:
        versions = [str(contract.version) for contract in pipeline.contract]
        if args.contract_version not in versions:
            raise ConfigError([f"--contract-version: there is {', '.join(versions) or 'no version'}"])
        shown = schemas[1 + versions.index(args.contract_version)]
    written = msgspec.json.Encoder(decimal_format="number").encode(shown)
    print(msgspec.json.format(written, indent=2).decode())
    return ExitCode.OK


def _import(path: Path) -> int:
    from ingestd.contract.importing import columns_of, toml_of

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        columns, remarks = columns_of(json.loads(text, parse_constant=_no_json))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: cannot be read as a JSON Schema: {error}"]) from None
    print(toml_of(columns, remarks), end="")
    return ExitCode.OK


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
