"""Reading a lake over HTTP: bounded, read-only, and never at the expense of the status page."""

import csv
import http.client
import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pyarrow as pa
import pytest
from msgspec import structs

from ingestd.board import Board, Slot, SlotCell
from ingestd.config.options import Bytes, Config, Secret, Secs, Status
from ingestd.lake.reading.ask import asking
from ingestd.lake.reading.session import Limits, Session
from ingestd.status.lake_child import Order
from ingestd.status.lake_question import BadQuestion, read_question, statement
from tests.query.lakes import MadeLake, event, lake_config
from tests.status.boards import make_config
from tests.status.served import Answer, Served, eventually, fork_status, free_port, serving

EVENTS = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeLake]:
    directory = tmp_path_factory.mktemp("lake")
    lake = MadeLake(lake_config(directory, f"sqlite:///{directory}/ledger.db"))
    lake.commit([event(n) for n in range(EVENTS - 5)])
    lake.commit([event(n) for n in range(EVENTS - 5, EVENTS)], settled=False)
    yield lake
    lake.close()


def with_status(config: Config, **options: object) -> Config:
    return structs.replace(config, status=structs.replace(Status(listen="127.0.0.1:0"), **options))


@pytest.fixture(scope="module")
def served(made: MadeLake) -> Iterator[Served]:
    with serving(with_status(made.config, lake_max_rows=30), Board()) as one:
        yield one


def ask(served: Served, *where: str, **parameters: object) -> Answer:
    words = [*parameters.items(), *(("where", one) for one in where)]
    return served.ask("/lake/crm.events?" + urlencode(words))


def test_lakes_are_listed_with_their_columns(served: Served) -> None:
    answer = served.ask("/lake")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    (lake,) = json.loads(answer.body)["lakes"]
    assert (lake["name"], lake["rows"]) == ("crm.events", EVENTS)
    assert lake["files"] >= 2 and lake["bytes"] > 0
    assert {column["name"]: column["type"] for column in lake["columns"]} == {
        "id": "BIGINT",
        "kind": "VARCHAR",
        "amount": "DECIMAL(10,2)",
        "ts": "TIMESTAMP WITH TIME ZONE",
        "tags": "VARCHAR[]",
        "year": "INTEGER",
        "month": "INTEGER",
    }


def test_json_has_exact_values_and_says_whether_there_are_more(served: Served) -> None:
    answer = ask(served, columns="id,amount,ts,tags,month", order="-id", limit=2)
    found = json.loads(answer.body)
    assert found["rows"] == [
        {"id": 39, "amount": "0.39", "ts": "2026-02-03 04:05:06.000789+00", "tags": ["x", None], "month": 2},
        {"id": 38, "amount": "0.38", "ts": "2026-01-03 04:05:06.000789+00", "tags": [], "month": 1},
    ]
    assert (found["more"], answer.headers["x-ingestd-more"], answer.headers["x-ingestd-rows"]) == (True, "true", "2")
    assert json.loads(ask(served, "id=ge:38").body)["more"] is False


def test_csv_and_arrow(served: Served) -> None:
    text = ask(served, columns="id,kind,tags", order="id", limit=2, format="csv")
    assert text.headers["content-type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(text.body.decode()))) == [
        ["id", "kind", "tags"],
        ["0", "a", "[]"],
        ["1", "b", '["x",null]'],
    ]
    stream = ask(served, order="id", limit=30, format="arrow")
    assert stream.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(stream.body).read_all()
    assert table.column("id").to_pylist() == list(range(30))
    assert table.schema.field("amount").type == pa.decimal128(10, 2)
    assert stream.headers["x-ingestd-more"] == "true"


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["id=eq:7"], [7]),
        (["id=ge:10", "id=lt:13"], [10, 11, 12]),
        (["id=le:3", "id=ne:1", "id=gt:0"], [2, 3]),
        (["id=in:3,5,3"], [3, 5]),
        (['kind=in:a,"b,c"', "id=lt:6"], [0, 3]),
        (["kind=prefix:b", "id=lt:6"], [1, 4]),
        (["amount=eq:0.11"], [11]),
        (["ts=lt:2026-01-15T00:00:00Z", "id=lt:5"], [0, 2, 4]),
        (["month=eq:2", "id=lt:4"], [1, 3]),
        (["tags=null:true"], []),
        (["kind=null:false", "id=lt:2"], [0, 1]),
        (["kind=eq:x' OR '1'='1"], []),
        (["kind=eq:"], []),
    ],
)
def test_conditions(made: MadeLake, where: list[str], found: list[int]) -> None:
    assert ids_of(made, [("where", one) for one in where]) == found


def test_conditions_by_http(served: Served) -> None:
    answer = ask(served, "id=ge:10", "id=in:3,11,12", "kind=ne:a", columns="id", order="-id")
    assert json.loads(answer.body)["rows"] == [{"id": 11}]


def ids_of(made: MadeLake, words: list[tuple[str, str]]) -> list[int]:
    question = read_question("crm.events", [*words, ("columns", "id"), ("order", "id")], 30)

    def answer(session: Session) -> list[int]:
        text, values = statement(question, session.columns())
        found: list[int] = session.ask(text, values).batches(texts=True).read_all().column("id").to_pylist()
        return found

    with asking(made.config.store, made.pipeline, answer, Limits()) as found:
        return found


@pytest.mark.parametrize(
    "words",
    [
        "columns=nothing",
        "where=tags=eq:x",
        "where=id=prefix:1",
        "where=nothing=eq:1",
        "where=id=in:1," + ",".join("2" * 1000),
        "order=nothing",
        "order=--id",
        'where=kind=in:"b',
        'columns="a"b',
    ],
)
def test_what_no_lake_can_answer(made: MadeLake, words: str) -> None:
    name, _, text = words.partition("=")
    with pytest.raises(BadQuestion):
        ids_of(made, [(name, text)])


@pytest.mark.parametrize(
    "query",
    [
        "columns=" + quote('id" FROM lake; DROP VIEW lake; --'),
        "where=id",
        "where=id=like:1",
        "where=id=eq:seven",
        "where=id=null:maybe",
        "limit=31",
        "limit=0",
        "limit=1e3",
        "format=xml",
        "sql=SELECT+1",
    ],
)
def test_a_bad_request_is_refused_in_one_line(served: Served, query: str) -> None:
    answer = served.ask(f"/lake/crm.events?{query}")
    assert answer.status == 400
    assert answer.body.count(b"\n") == 1


def test_other_names_and_methods(served: Served) -> None:
    assert served.ask("/lake/tables-only").status == 404
    assert served.ask("/lake/..%2F..%2Fetc").status == 404
    assert served.ask("/lake", method="POST").status == 405


def test_there_is_nothing_to_read_where_no_pipeline_has_a_lake() -> None:
    with serving(make_config(), Board()) as one:
        assert one.ask("/lake").status == 404


def test_the_token_guards_lakes_too(made: MadeLake) -> None:
    with serving(with_status(made.config, token="secret token"), Board()) as one:
        assert one.ask("/lake/crm.events").status == 401
        assert one.ask("/lake/crm.events?token=secret+token").status == 401
        assert one.ask("/lake/crm.events", authorization="Bearer secret token").status == 200


def slow_lake(directory: Path) -> MadeLake:
    """Enough rows for an answer that is never finished in a tenth of a second."""
    made = MadeLake(lake_config(directory, f"sqlite:///{directory}/ledger.db"))
    made.commit([event(n, tags=["x" * 200] * 3) for n in range(30_000)])
    return made


def test_an_answer_that_takes_too_long_is_ended_and_never_looks_whole(tmp_path: Path) -> None:
    made = slow_lake(tmp_path)
    with serving(with_status(made.config, lake_timeout=Secs(0.05)), Board()) as one:
        answer = one.ask("/lake/crm.events?limit=30000")
        assert answer.status == 503
        assert b"lake_timeout" in answer.body
    with serving(with_status(made.config, lake_timeout=Secs(5)), Board()) as one:
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)
        connection.request("GET", "/lake/crm.events?limit=30000")
        response = connection.getresponse()
        assert response.read(1000)
        # Nobody reads on: the answer waits in the pipes, until its time is over.
        eventually(lambda: not children_of(one.pid), "the slow answer is ended")
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        connection.close()
        assert one.ask("/lake/crm.events?limit=1").status == 200
    made.close()


def test_too_many_at_once_are_told_to_come_again_while_the_page_answers(tmp_path: Path) -> None:
    made = slow_lake(tmp_path)
    with serving(with_status(made.config), Board()) as one:
        waiting = []
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)
            connection.request("GET", "/lake/crm.events?limit=30000")
            assert connection.getresponse().read(1000)
            waiting.append(connection)
        busy = one.ask("/lake/crm.events")
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert one.ask("/healthz").status == 200
        for connection in waiting:
            connection.close()
        eventually(lambda: not children_of(one.pid), "answers that nobody waits for are ended")
        assert one.ask("/lake/crm.events?limit=1").status == 200
    made.close()


def test_an_answer_beyond_its_memory_is_refused(tmp_path: Path) -> None:
    made = slow_lake(tmp_path)
    config = with_status(made.config, lake_memory=Bytes(1 << 20))
    with serving(config, Board()) as one:
        answer = one.ask("/lake/crm.events?limit=30000&order=tags")
        assert (answer.status, b"memory" in answer.body) == (413, True)
    made.close()


def test_no_answer_outlives_a_killed_status_server(tmp_path: Path) -> None:
    made = slow_lake(tmp_path)
    board, port = Board(), free_port()
    pid = fork_status(with_status(made.config, listen=f"127.0.0.1:{port}"), board)
    eventually(lambda: board.slot(Slot.STATUS, SlotCell.BEAT_NS) > 0, "the status server beats")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/lake/crm.events?limit=30000")
    response = connection.getresponse()
    assert response.read(1000)
    left = children_of(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert left
    eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in left), "the answer's process is gone")
    response.close()
    connection.close()
    made.close()


def test_an_answer_that_waits_ends_with_its_parent(made: MadeLake) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = Secret(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d")
        order = pickle.dumps(Order(structs.replace(made.config.store, url=url), [made.pipeline], None, 1 << 28))
        command = [sys.executable, "-m", "ingestd.status.lake_child"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            child.stdin.write(len(order).to_bytes(8, "big") + order)
            child.stdin.flush()
            with silent.accept()[0]:  # it waits for a word of the server
                child.stdin.close()
                assert child.wait(20) == 1


def children_of(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found
