"""What the file may not say of columns together: each mistake names its place and the way out."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from tests.config.test_load import ID, problems, whole

UPSERT = '[pipeline.table]\nname = "t"\nmode = "upsert"\nkey = ["id"]\n'
VERSION = "[[pipeline.contract]]\nversion = {}\ncolumn = [{}]\n"
V1 = VERSION.format("1", ID)


def column(options: str, beside: str = ID) -> str:
    return whole(f'{beside}, {{ name = "x", {options} }}')


def table(more: str, columns: str = ID) -> str:
    return whole(columns, table=UPSERT + more)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            column('type = "int4", source = "headers"'),
            'column[1].type: int4 cannot hold source = "headers"; write jsonb',
        ),
        (column('type = "date", source = "key"'), "or name a field of a JSON key by path"),
        (column('type = "int4", source = "offset"'), "write int8"),
        (column('type = "text", source = "timestamp"'), "write timestamptz or timestamp or epoch or int8"),
        (column('type = "text", source = "topic", path = "a"'), 'column[1].path: means nothing with source = "topic"'),
        (column('type = "text", source = "key", default = "a"'), "column[1].default: means nothing with source"),
        (column('type = "int8", source = "timestamp", epoch = "s"'), "column[1].epoch"),
        (column('type = "text", source = "keys"'), 'did you mean "key"?'),
        (column('type = "text", keep_when_absent = true'), 'keep_when_absent: is for mode = "upsert"'),
        (table("", f'{ID}, {{ name = "x", type = "text", keep_when_absent = true, required = true }}'), "never absent"),
        (table("", '{ name = "id", type = "text", required = true, stored = false }'), "so it must be stored"),
        (whole('{ name = "id", type = "text", stored = false }'), "the table needs one"),
        (
            whole(
                '{ name = "a", type = "text", source = "key", path = "k" },'
                '{ name = "b", type = "text", source = "key", path = "k" }'
            ),
            '"k" is already read by column[0]',
        ),
        (whole(options='unknown_fields = "keep"'), "unknown_column: is missing"),
        (whole(options='unknown_fields = "keep"\nunknown_column = "u"'), 'add { name = "u", type = "jsonb" }'),
        (whole(options='unknown_fields = "keep"\nunknown_column = "id"'), '"id" is text; it must be jsonb'),
        (
            whole(
                f'{ID}, {{ name = "u", type = "jsonb", path = "p" }}', 'unknown_fields = "keep"\nunknown_column = "u"'
            ),
            "remove its path",
        ),
        (whole(options='unknown_column = "u"'), 'is only used with unknown_fields = "keep"'),
        (whole(options='unknown_fields = "dead_letter"\non_new_field = "evolve"'), "on_new_field: does not go with"),
        (whole(options='version_field = "v"'), "is only used with [[pipeline.contract]]"),
        (whole() + V1, "version_field: is missing"),
        (whole(options='version_field = "v"') + V1 + V1, "contract[0].version: 1 is declared more than once"),
        (
            whole(options='version_field = "v"') + VERSION.format('"a"', '{ name = "y", type = "text" }'),
            'contract[0].column[0].name: "y" is not a column of the table',
        ),
        (
            whole(options='version_field = "v"')
            + VERSION.format('"a"', '{ name = "id", type = "int4", required = true }'),
            "is int4, in the table text",
        ),
        (
            whole(options='version_field = "v"') + VERSION.format('"a"', '{ name = "id", type = "text" }'),
            "write required = true, or a default",
        ),
        (
            whole(f'{ID}, {{ name = "y", type = "text" }}', 'version_field = "v"')
            + VERSION.format('"a"', '{ name = "y", type = "text" }'),
            'leaves out "id", which is required',
        ),
        (
            whole(options='version_field = "v"')
            + VERSION.format('"a"', '{ name = "id", type = "strng", required = true }'),
            "contract[0].column[0].type: unknown type",
        ),
        (table('delete = { how = "soft", when = { a = 1 } }\n'), '"a" is read by no column'),
        (table('delete = { how = "soft", when = { id = 1 } }\n'), '"id" is read as text; write a value of that type'),
        (
            table(
                'version = "v"\ndelete = { how = "hard", tombstone = true }\n',
                f'{ID}, {{ name = "v", type = "int8", required = true }}',
            ),
            "a record without a value has none",
        ),
    ],
)
def test_problem_names_place_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, text)
    assert any(expected in problem for problem in found), found


def test_all_sources_versions_and_unknown_fields_together(tmp_path: Path) -> None:
    columns = (
        ID,
        '{ name = "k", type = "text", source = "key", path = "id" }',
        '{ name = "h", type = "jsonb", source = "headers" }',
        '{ name = "o", type = "int8", source = "offset" }',
        '{ name = "at", type = "text", source = "now" }',
        '{ name = "kind", type = "text", stored = false, path = "event.kind" }',
        '{ name = "u", type = "jsonb" }',
        '{ name = "ts", type = "epoch", epoch = "ms", assume_utc = true, default = 1.5 }',
    )
    options = 'unknown_fields = "keep"\nunknown_column = "u"\nversion_field = "v"'
    delete = 'delete = { how = "soft", tombstone = true, when = { "event.kind" = "gone" } }\n'
    path = tmp_path / "c.toml"
    path.write_text(whole(", ".join(columns), options, UPSERT + delete) + V1)
    pipeline = load(path, {}).pipeline[0]
    assert pipeline.contract[0].version == 1
    assert pipeline.table.delete is not None and pipeline.table.delete.when == {"event.kind": "gone"}
