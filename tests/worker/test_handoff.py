"""The handoff between reader and writer, and the reader itself."""

import threading
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from ingestd.batch import Chunk, Rows, Tile
from ingestd.config import options as cfg
from ingestd.worker.reader import Handoff, Reader
from tests.sinks.contracts import MemoryRecord

_EMPTY = pa.record_batch({"id": pa.array([], pa.int32())})


def _handoff(max_rows: int = 100, max_bytes: int = 10_000, max_wait: float = 5) -> Handoff:
    return Handoff(cfg.Batch(max_rows=max_rows, max_bytes=cfg.Bytes(max_bytes), max_wait=cfg.Secs(max_wait)))


def _rows(start: int, count: int, nbytes: int = 0) -> Rows:
    records = [MemoryRecord(b"", n) for n in range(start, start + count)]
    return Rows([Tile(0, start, start + count)], _EMPTY, records, [], nbytes)


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        threading.Event().wait(0.005)


def test_lone_record_goes_at_once() -> None:
    handoff = _handoff()
    handoff.put(_rows(0, 1), more=False)
    began = time.monotonic()
    assert len(handoff.take(5)) == 1
    assert time.monotonic() - began < 0.5


def test_record_that_comes_while_the_writer_waits_goes_at_once() -> None:
    handoff = _handoff()
    taken: list[Rows] = []
    writer = threading.Thread(target=lambda: taken.extend(handoff.take(5)))
    writer.start()
    handoff.put(_rows(0, 1), more=False)
    writer.join(1)
    assert len(taken) == 1


def test_take_without_records_gives_nothing_after_its_timeout() -> None:
    began = time.monotonic()
    assert _handoff().take(0.05) is None
    assert 0.04 < time.monotonic() - began < 1


def test_backlog_fills_the_batch_up_to_its_rows() -> None:
    handoff = _handoff(max_rows=100)
    for n in range(4):
        handoff.put(_rows(n * 25, 25), more=True)
    began = time.monotonic()
    assert sum(len(part.records) for part in handoff.take(5)) == 100
    assert time.monotonic() - began < 0.5


def test_backlog_waits_no_longer_than_max_wait() -> None:
    handoff = _handoff(max_wait=0.05)
    handoff.put(_rows(0, 10), more=True)
    began = time.monotonic()
    assert len(handoff.take(5)) == 1
    assert time.monotonic() - began < 1


def test_idle_source_lets_the_batch_go() -> None:
    handoff = _handoff(max_wait=30)
    handoff.put(_rows(0, 10), more=True)
    handoff.idle()
    began = time.monotonic()
    assert len(handoff.take(5)) == 1
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(("count", "nbytes"), [(60, 1), (1, 6_000)], ids=["rows", "bytes"])
def test_full_batch_holds_the_reader_up_until_it_is_taken(count: int, nbytes: int) -> None:
    handoff = _handoff(max_rows=100, max_bytes=10_000)
    handoff.put(_rows(0, count, nbytes), more=True)
    reader = threading.Thread(target=handoff.put, args=(_rows(count, count, nbytes), True))
    reader.start()
    _until(lambda: handoff.pauses == 1)
    assert (handoff.rows, handoff.nbytes) == (count, nbytes)
    assert len(handoff.take(5)) == 1
    reader.join(5)
    assert handoff.rows == count
    assert handoff.paused_ns > 0


def test_chunk_larger_than_the_batch_goes_alone() -> None:
    handoff = _handoff(max_rows=10)
    handoff.put(_rows(0, 50), more=True)
    assert len(handoff.take(5)[0].records) == 50


def test_error_comes_after_what_was_read_before_it() -> None:
    handoff = _handoff(max_wait=30)
    handoff.put(_rows(0, 5), more=True)
    handoff.fail(ValueError("broken"))
    assert len(handoff.take(5)) == 1
    with pytest.raises(ValueError, match="broken"):
        handoff.take(5)


def test_close_lets_a_blocked_reader_and_a_waiting_writer_go() -> None:
    handoff = _handoff(max_rows=10)
    waiting = threading.Thread(target=handoff.take, args=(30,))
    waiting.start()
    handoff.close()
    waiting.join(5)
    handoff.put(_rows(0, 10), more=True)
    blocked = threading.Thread(target=handoff.put, args=(_rows(10, 10), True))
    blocked.start()
    blocked.join(5)
    assert not waiting.is_alive() and not blocked.is_alive()


class FakeSource:
    """Gives its chunks, then nothing, then what it was told to raise."""

    def __init__(self, chunks: int, error: BaseException | None = None):
        self._left = chunks
        self._error = error
        self.at = 0

    def next_chunk(self, timeout_secs: float) -> tuple[Chunk | None, bool]:
        if self._left:
            self._left -= 1
            self.at += 5
            return Chunk(
                [Tile(0, self.at - 5, self.at)], [MemoryRecord(b"", n) for n in range(self.at - 5, self.at)]
            ), True
        if self._error is not None:
            raise self._error
        threading.Event().wait(0.01)
        return None, False


def _decode(chunk: Chunk) -> Rows:
    return Rows(chunk.tiles, _EMPTY, chunk.records, [], 0)


def test_reader_gives_chunks_in_order_then_its_error() -> None:
    handoff = _handoff(max_rows=12)
    reader = Reader(FakeSource(6, ValueError("gone")), _decode, handoff)
    reader.start()
    tiles: list[Tile] = []
    with pytest.raises(ValueError, match="gone"):
        while True:
            tiles += [tile for part in handoff.take(5) for tile in part.tiles]
    assert [tile.start for tile in tiles] == [0, 5, 10, 15, 20, 25]
    reader.stop(5)


def test_reader_stops_while_it_stands_before_a_full_batch() -> None:
    handoff = _handoff(max_rows=5)
    reader = Reader(FakeSource(9), _decode, handoff)
    reader.start()
    _until(lambda: handoff.pauses)
    reader.stop(5)
    assert not reader.is_alive()


def test_error_of_the_decoder_reaches_the_writer() -> None:
    def broken(chunk: Chunk) -> Rows:
        raise RuntimeError("a defect")

    handoff = _handoff()
    reader = Reader(FakeSource(1), broken, handoff)
    reader.start()
    with pytest.raises(RuntimeError, match="a defect"):
        handoff.take(5)
    reader.stop(5)


def test_full_batch_is_prepared_while_the_writer_is_busy() -> None:
    prepared: list[tuple[str, int]] = []

    def prepare(parts: list[Rows]) -> int:
        prepared.append((threading.current_thread().name, sum(len(part.records) for part in parts)))
        return len(parts)

    limits = cfg.Batch(max_rows=10, max_bytes=cfg.Bytes(10_000), max_wait=cfg.Secs(5))
    handoff = Handoff(limits, prepare=prepare)
    handoff.put(_rows(0, 6), more=True)
    reader = threading.Thread(target=lambda: handoff.put(_rows(6, 6), more=True), name="the reader")
    reader.start()
    _until(lambda: prepared)
    assert handoff.take(5) == 1
    reader.join(5)
    handoff.idle()
    assert handoff.take(5) == 1
    assert prepared == [("the reader", 6), (threading.current_thread().name, 6)]


def test_writer_waits_for_a_batch_that_is_being_prepared() -> None:
    go = threading.Event()

    def prepare(parts: list[Rows]) -> int:
        assert go.wait(5)
        return len(parts)

    limits = cfg.Batch(max_rows=10, max_bytes=cfg.Bytes(10_000), max_wait=cfg.Secs(5))
    handoff = Handoff(limits, prepare=prepare)
    handoff.put(_rows(0, 6), more=True)
    reader = threading.Thread(target=lambda: handoff.put(_rows(6, 6), more=True))
    reader.start()
    taken: list[int] = []
    writer = threading.Thread(target=lambda: taken.append(handoff.take(0.01)))
    writer.start()
    writer.join(0.1)
    assert taken == []
    go.set()
    writer.join(5)
    reader.join(5)
    assert taken == [1]
