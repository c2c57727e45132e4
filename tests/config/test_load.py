"""From a file to a configuration, or to every problem in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from ingestd.config.file import load
from ingestd.errors import ConfigError

KAFKA = '[kafka]\nbootstrap_servers = "localhost:9092"\ngroup_id = "g"\n'
STORE = '[store]\nurl = "postgresql://u@h/db"\n'
ID = '{ name = "id", type = "text", required = true }'
TABLE = '[pipeline.table]\nname = "t"\n'


def pipeline(columns: str = ID, options: str = "", table: str = TABLE, name: str = "p") -> str:
    return f'[[pipeline]]\nname = "{name}"\ntopic = "t"\n{options}\ncolumn = [{columns}]\n{table}'


def whole(columns: str = ID, options: str = "", table: str = TABLE) -> str:
    return KAFKA + STORE + pipeline(columns, options, table)


def problems(tmp_path: Path, text: str, environ: dict[str, str] | None = None, *overrides: str) -> list[str]:
    """The problems, without the file's name."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, overrides)
    return [problem.removeprefix(f"{path}:").removeprefix(str(path)) for problem in caught.value.problems]


def test_units_and_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(whole(options='batch = { max_bytes = "512kB", max_wait = "5m" }'))
    config = load(path, {})
    batch = config.pipeline[0].batch
    assert (batch.max_rows, batch.max_bytes, batch.max_wait) == (25_000, 512_000, 300.0)
    assert config.workers.stuck_after == 300.0
    assert config.pipeline[0].column[0].required


@pytest.mark.parametrize(("options", "expected"), [("", 100_000), ("batch = { max_rows = 7 }", 7)])
def test_batches_are_larger_with_sqlite_unless_the_file_says_how_large(
    tmp_path: Path, options: str, expected: int
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(KAFKA + '[store]\nurl = "sqlite:///x.db"\n' + pipeline(options=options))
    assert load(path, {}).pipeline[0].batch.max_rows == expected


def test_all_problems_come_at_once_with_line_and_path(tmp_path: Path) -> None:
    text = (
        KAFKA + STORE + pipeline('\n{ name = "id", type = "strng" },\n{ nam = "x", type = "text" },\n', 'start = "now"')
    )
    found = problems(tmp_path, text + "[log]\nlevel = 3\n")
    assert [problem.split(": ")[0] + ": " + problem.split(": ")[1] for problem in found] == [
        "9: pipeline[0].start",
        "11: pipeline[0].column[0].type",
        "12: pipeline[0].column[1].nam",
        "12: pipeline[0].column[1].name",
        "17: log.level",
    ]


def test_tables_of_arrays_have_their_lines(tmp_path: Path) -> None:
    column = '[[pipeline.column]]\nname = "{}"\ntype = "{}"\n'
    one = '[[pipeline]]\nname = "a"\ntopic = "t"\n' + column.format("id", "text") + column.format("x", "bad") + TABLE
    found = problems(tmp_path, KAFKA + STORE + one + one.replace('"a"', '"b"'))
    assert [problem.split(": unknown")[0] for problem in found] == [
        "14: pipeline[0].column[1].type",
        "25: pipeline[1].column[1].type",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (whole('{ name = "a\\"b", type = "text" }'), "pipeline[0].column[0].path: 'a\"b' has a quote, a backslash or"),
        (KAFKA + "grup_id = 1\n" + STORE + pipeline(), 'kafka.grup_id: unknown option; did you mean "group_id"?'),
        (STORE + pipeline(), "kafka: is missing"),
        (KAFKA + STORE, "pipeline: is missing"),
        (KAFKA + STORE + "pipeline = 3\n", "store.pipeline: unknown option"),
        (whole() + "[kafka]\n", "not valid TOML"),
        (whole(options="batch = 7"), "pipeline[0].batch: must be a table, is 7"),
        (whole(options='batch = { max_bytes = "16MoB" }'), 'must be a size above zero, such as "16MiB"'),
        (whole(options="batch = { max_wait = -1 }"), "must be a duration above zero"),
        (whole(options='batch = { max_rows = "many" }'), "must be an integer of at least 1 and at most 1,000,000"),
        (whole(options="batch = { max_rows = 0 }"), "is 0"),
        (whole(options="start = 2026-01-01T00:00:00"), "a time with its offset"),
        (whole(options='format = "jsn"'), 'did you mean "json"?'),
        (whole(f"{ID}, {ID}"), 'column[1].name: "id" is already column[0]'),
        (whole('{ name = "n", type = "int4", epoch = "s" }'), "epoch: is for timestamptz and timestamp, not for int4"),
        (whole('{ name = "n", type = "timestamp", assume_utc = true }'), "assume_utc: is for timestamptz"),
        (whole('{ name = "n", type = "int2", default = 40000 }'), "default: does not fit int2"),
        (whole('{ name = "n", type = "numeric(4,2)", default = 1.005 }'), "default: does not fit numeric(4,2)"),
        (whole('{ name = "n", type = "bool", default = 1 }'), "default: does not fit bool"),
        (whole('{ name = "n", type = "uuid", default = "no" }'), "default: does not fit uuid"),
        (whole('{ name = "n", type = "text", required = true, default = "x" }'), "does not go with required"),
        (whole('{ name = "a", type = "text" }, { name = "b", type = "text", path = "a.b" }'), "is read as one value"),
        (whole('{ name = "a", type = "text", path = "b..c" }'), "has an empty step"),
        (whole(table='[pipeline.table]\nname = "t"\nmode = "insert"\n'), "table.key: is missing"),
        (whole(table='[pipeline.table]\nname = "t"\nkey = ["id"]\n'), 'means nothing with mode = "append"'),
        (whole(table='[pipeline.table]\nname = "t"\nmode = "insert"\nkey = ["x"]\n'), '"x" is not a declared column'),
        (
            whole(
                '{ name = "id", type = "text" }', table='[pipeline.table]\nname = "t"\nmode="insert"\nkey = ["id"]\n'
            ),
            'column "id" may be null; write required = true',
        ),
        (whole(table='[pipeline.table]\nname = "a.b.c"\n'), 'must be "table" or "schema.table"'),
        (whole(table='[pipeline.table]\nname = "t"\nddl = "x.sql"\n'), "only used with create = true"),
        (whole(table='[pipeline.table]\nname = "t"\ncreate = true\nddl = "x.sql"\n'), "no such file or directory"),
        (whole() + pipeline(), 'pipeline[1].name: "p" is already pipeline[0]'),
        (whole() + '[status]\nlisten = "0.0.0.0:1"\n', "is not loopback"),
        (whole() + '[status]\nlisten = "8480"\n', 'must be "host:port"'),
        (whole() + '[status]\nlisten = "0.0.0.0:1"\ntoken = ""\n', "status.token: is empty"),
        (whole().replace("localhost:9092", "http://x:y"), 'must be "host:port,host:port"'),
        (
            whole().replace('group_id = "g"', 'group_id = "g"\ngroup_protocol = "consumer"\ngroup_instance_id = "i"'),
            "a killed static member could not come back",
        ),
        (whole() + "[workers]\nmax_workers = 0\n", "must be an integer of at least 1, is 0"),
    ],
)
def test_problem_names_place_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, text)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://h/db", 'must begin with "postgresql://" or "sqlite:///"'),
        ("postgresql://u:p@ss@h/db", "is not a URL of PostgreSQL"),
        ("postgresql://u:a/b@h/db", "is not a URL of PostgreSQL"),
        ("postgresql://u:100%@h/db", "%25"),
        ("postgresql://u@h:99999/db", "port outside"),
        ("postgresql://u@h", "names no database"),
        ("postgresql://u@h/db?sslmode", "a parameter without a value"),
    ],
)
def test_store_url_that_libpq_would_misread_is_refused(tmp_path: Path, url: str, expected: str) -> None:
    (found,) = problems(tmp_path, whole().replace("postgresql://u@h/db", url))
    assert expected in found


@pytest.mark.parametrize(
    "url",
    [
        "embedded",
        "postgresql:///db?host=/run/postgresql",
        "postgres://u:p%2F@[::1]:5432/db",
        "postgresql://u@h1:1,h2:2/db?target_session_attrs=read-write",
    ],
)
def test_store_url_in_every_form_of_libpq(tmp_path: Path, url: str) -> None:
    (tmp_path / "c.toml").write_text(whole().replace("postgresql://u@h/db", url))
    assert load(tmp_path / "c.toml", {}).store.url == url


@pytest.mark.parametrize(
    "name", ["enable.auto.commit", "auto.offset.reset", "isolation.level", "group.id", "bootstrap.servers"]
)
def test_property_that_guards_exactly_once_is_refused(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, whole().replace("[store]", f"[kafka.properties]\n{name} = 1\n[store]"))
    assert found.startswith(f'5: kafka.properties."{name}": is set by ingestd itself')


def test_properties_may_be_written_without_quotes(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        whole().replace("[store]", '[kafka.properties]\nsecurity.protocol = "SSL"\n[store]')
    )
    assert load(tmp_path / "c.toml", {}).kafka.properties == {"security.protocol": "SSL"}


def test_variables_defaults_and_dollar_signs(tmp_path: Path) -> None:
    text = whole(options='batch = { max_rows = "${ROWS}", max_wait = "${WAIT:-1s}" }')
    (tmp_path / "c.toml").write_text(
        text.replace('"g"', '"${A:-${B:-b}}-$$-${EMPTY:-e}-$x"') + '[status]\nenabled = "${ON}"\n'
    )
    config = load(tmp_path / "c.toml", {"ROWS": "7", "EMPTY": "", "ON": "false"})
    assert config.kafka.group_id == "b-$-e-$x"
    assert (config.pipeline[0].batch.max_rows, config.pipeline[0].batch.max_wait) == (7, 1.0)
    assert config.status.enabled is False


def test_password_of_a_variable_is_encoded_into_the_url_and_the_host_is_not(tmp_path: Path) -> None:
    url = "postgresql://${U}:${P:-x}@${H}/db"
    (tmp_path / "c.toml").write_text(whole().replace("postgresql://u@h/db", url))
    config = load(tmp_path / "c.toml", {"U": "me", "P": "a:b/c@d%", "H": "h1:1,h2:2"})
    assert config.store.url == "postgresql://me:a%3Ab%2Fc%40d%25@h1:1,h2:2/db"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${NOPE}", "environment variable NOPE is not set"),
        ("${NOPE", '"${" is not closed'),
        ("${1x}", "is no variable"),
        ("${A-b}", "is no variable"),
    ],
)
def test_variable_that_cannot_be_replaced_is_a_problem(tmp_path: Path, written: str, expected: str) -> None:
    (found,) = problems(tmp_path, whole().replace('"g"', f'"{written}"'))
    assert found.startswith("3: kafka.group_id: ")
    assert expected in found


def test_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, whole(options='batch = { max_rows = "${ROWS}" }'), {"ROWS": "sesame"})
    assert "sesame" not in found
    assert '"${ROWS}"' in found


def test_environment_wins_over_env_file_and_the_file_beside_wins_over_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / ".env").write_text("A=beside\nB='be side'\n")
    (elsewhere / ".env").write_text("# comment\nexport A=cwd\nB=cwd\nC=cwd$X\n")
    monkeypatch.chdir(elsewhere)
    (here / "c.toml").write_text(whole().replace('"g"', '"${A} ${B} ${C}"'))
    assert load(here / "c.toml", {"A": "real"}).kafka.group_id == "real be side cwd$X"


def test_bad_line_of_an_env_file_is_a_problem_that_does_not_quote_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\nPASS WORD = 'sesame\n")
    (found,) = problems(tmp_path, whole())
    assert ".env:2: not understood" in found
    assert "sesame" not in found


def test_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(whole())
    overrides = ["status.listen=127.0.0.1:0", "pipeline[0].batch.max_rows=5", 'log.level="debug"']
    config = load(tmp_path / "c.toml", {}, overrides)
    assert (config.status.listen, config.pipeline[0].batch.max_rows, config.log.level) == ("127.0.0.1:0", 5, "debug")
    assert "no such place" in problems(tmp_path, whole(), {}, "pipeline[3].name=x")[0]


def test_missing_file_and_broken_toml_say_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load(tmp_path, {})
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "c.toml", {})
    (tmp_path / "c.toml").write_text(KAFKA + "x = \n")
    with pytest.raises(ConfigError, match=r"c\.toml:4: not valid TOML, column 5: invalid value"):
        load(tmp_path / "c.toml", {})


def test_loading_changes_nothing_and_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(whole())
    assert load(tmp_path / "c.toml", {}) == load(tmp_path / "c.toml", {})
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


def test_loading_imports_no_client_library(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(whole())
    code = (
        "import sys; from ingestd.config.file import load; load(sys.argv[1], {}); "
        "print([name for name in ('confluent_kafka', 'psycopg', 'pyarrow') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c.toml")], capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_file_of_sql_is_chosen_by_the_store(tmp_path: Path) -> None:
    (tmp_path / "t.postgresql.sql").write_text("CREATE TABLE t (id text)")
    table = '[pipeline.table]\nname = "t"\ncreate = true\nddl = "t.{store}.sql"\n'
    (tmp_path / "ingestd.toml").write_text(whole(table=table))
    assert load(tmp_path / "ingestd.toml", {}).pipeline[0].table.ddl == str(tmp_path / "t.postgresql.sql")
