"""The file sink on a real directory: whole lines, exactly once, through torn writes, kills and a full disk."""

import csv
import json
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.clock import SystemClock
from callctl.errors import SinkUnavailable
from callctl.sinks.file import FileSink
from callctl.sinks.lines import Csv, JsonLines
from callctl.sinks.record import COLUMNS
from tests.contract.feed import FORMATS, SetClock, feed, feed_record

FORMS = list(FORMATS)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def open_sink(tmp_path: Path, clock: SetClock, form: str) -> AsyncIterator[Callable[..., FileSink]]:
    opened: list[FileSink] = []

    def open_one(**changes: Any) -> FileSink:
        options: dict[str, Any] = {"rotate_bytes": 10**9, "rotate_ms": 3_600_000, "clock": clock}
        name, directory = changes.pop("name", "billing"), changes.pop("directory", tmp_path)
        sink = FileSink(name, directory, FORMATS[changes.pop("form", form)], **options | changes)
        opened.append(sink)
        return sink

    yield open_one
    for sink in opened:
        crash(sink)


def crash(sink: FileSink) -> None:
    """What the kernel does for a dead process: lets go of the claim and closes the file, and nothing else."""
    if sink._part is not None:
        sink._part._file.close()
        sink._part = None
    if sink._claim is not None:
        sink._claim.close()
        sink._claim = None


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("billing-*"))


def rows(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8")
    assert text.endswith("\n")
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    return [{**row, "sequence": int(row["sequence"])} for row in csv.DictReader(text.splitlines())]


def sequences(directory: Path) -> list[int]:
    """Of all files, in the order of their names."""
    return [row["sequence"] for path in files(directory) for row in rows(path)]


async def test_a_delivered_batch_is_in_the_file(open_sink, tmp_path: Path, form: str) -> None:
    await open_sink().deliver(feed(1, 3))
    (path,) = files(tmp_path)
    assert path.name == f"billing-20261121T100000Z-000000000001.{form}.part"
    assert sequences(tmp_path) == [1, 2, 3]


async def test_a_repeated_batch_is_written_once(open_sink, tmp_path: Path) -> None:
    sink = open_sink()
    await sink.deliver(feed(1, 3))
    await sink.deliver(feed(2, 5))
    assert sequences(tmp_path) == [1, 2, 3, 4, 5]


async def test_a_closed_sink_leaves_finished_files_only(open_sink, tmp_path: Path, form: str) -> None:
    sink = open_sink()
    await sink.deliver(feed(1, 3))
    await sink.close()
    assert [p.name for p in files(tmp_path)] == [f"billing-20261121T100000Z-000000000001.{form}"]
    await open_sink().deliver(feed(1, 4))
    assert sequences(tmp_path) == [1, 2, 3, 4]


async def test_an_unused_sink_leaves_no_file(open_sink, tmp_path: Path) -> None:
    sink = open_sink()
    await sink.deliver([])
    await sink.close()
    assert files(tmp_path) == []


async def test_rotation_by_size_within_a_batch(open_sink, tmp_path: Path) -> None:
    await open_sink(rotate_bytes=2_000).deliver(feed(1, 100))
    finished = [path for path in files(tmp_path) if path.suffix != ".part"]
    assert len(finished) > 3
    assert all(path.stat().st_size < 4_000 for path in finished)
    assert sequences(tmp_path) == list(range(1, 101))


async def test_every_file_is_named_by_its_first_sequence(open_sink, tmp_path: Path) -> None:
    await open_sink(rotate_bytes=2_000).deliver(feed(1, 40))
    for path in files(tmp_path):
        assert int(path.name.split(".")[0].rsplit("-", 1)[1]) == rows(path)[0]["sequence"]


async def test_rotation_by_age_needs_no_new_record(open_sink, tmp_path: Path, clock: SetClock) -> None:
    sink = open_sink()
    await sink.deliver(feed(1, 1))
    clock.pass_s(3599)
    await sink.deliver([])
    assert files(tmp_path)[0].suffix == ".part"
    clock.pass_s(1)
    await sink.deliver([])
    assert files(tmp_path)[0].suffix != ".part"


async def test_age_goes_on_over_a_restart(open_sink, tmp_path: Path, clock: SetClock) -> None:
    first = open_sink()
    await first.deliver(feed(1, 1))
    crash(first)
    clock.pass_s(3600)
    await open_sink().deliver([])
    assert files(tmp_path)[0].suffix != ".part"


@pytest.mark.parametrize("form", ["csv"], indirect=True)
async def test_a_csv_file_has_its_header_once(open_sink, tmp_path: Path) -> None:
    sink = open_sink(rotate_bytes=2_000)
    await sink.deliver(feed(1, 20))
    crash(sink)
    await open_sink(rotate_bytes=2_000).deliver(feed(15, 40))
    for path in files(tmp_path):
        assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
        assert path.read_text().count("sequence,id,") == 1


async def test_a_line_torn_anywhere_is_cut_off_and_written_again(open_sink, tmp_path: Path, form: str) -> None:
    whole = open_sink(directory=tmp_path / "whole")
    await whole.deliver(feed(1, 3))
    crash(whole)
    (path,) = files(tmp_path / "whole")
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        torn = tmp_path / f"torn-{length}"
        torn.mkdir()
        (torn / path.name).write_bytes(content[:length])
        sink = open_sink(directory=torn)
        await sink.deliver(feed(1, 4))
        await sink.close()
        assert sequences(torn) == [1, 2, 3, 4], f"{form} cut at {length}"


async def test_a_torn_line_longer_than_a_block_is_cut_off(open_sink, tmp_path: Path) -> None:
    sink = open_sink()
    await sink.deliver([feed_record(1), feed_record(2, detail="x" * 200_000)])
    crash(sink)
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    await open_sink().deliver([feed_record(2)])
    assert sequences(tmp_path) == [1, 2]


async def test_a_repeated_batch_is_recognised_over_several_files(open_sink, tmp_path: Path) -> None:
    sink = open_sink(rotate_bytes=1_000)
    await sink.deliver(feed(1, 60))
    crash(sink)
    await open_sink(rotate_bytes=1_000).deliver(feed(1, 61))
    assert sequences(tmp_path) == list(range(1, 62))


async def test_a_feed_that_begins_anew_loses_nothing(open_sink, tmp_path: Path, clock: SetClock) -> None:
    """Redis was wiped: sequences start at 1 again, and the calls are other calls."""
    sink = open_sink()
    await sink.deliver(feed(1, 3))
    await sink.close()
    clock.pass_s(60)
    await open_sink().deliver([feed_record(1, id="http/new1:acme"), feed_record(2, id="http/new2:acme")])
    assert sequences(tmp_path) == [1, 2, 3, 1, 2]


async def test_a_clock_that_steps_back_does_not_mix_up_the_files(open_sink, tmp_path: Path, clock: SetClock) -> None:
    sink = open_sink(rotate_bytes=1)
    await sink.deliver(feed(1, 3))
    clock.pass_s(-3600)
    await sink.deliver(feed(4, 6))
    crash(sink)
    await open_sink().deliver(feed(4, 7))
    assert sequences(tmp_path) == [1, 2, 3, 4, 5, 6, 7]


async def test_two_writers_in_one_place_are_refused(open_sink, tmp_path: Path) -> None:
    await open_sink().deliver(feed(1, 1))
    with pytest.raises(SinkUnavailable, match="another process"):
        await open_sink().deliver(feed(1, 1))
    await open_sink(name="audit").deliver(feed(1, 1))
    assert sequences(tmp_path) == [1]


async def test_a_file_of_the_other_format_is_finished(open_sink, tmp_path: Path, form: str) -> None:
    sink = open_sink()
    await sink.deliver(feed(1, 2))
    crash(sink)
    other = "csv" if form == "jsonl" else "jsonl"
    await open_sink(form=other).deliver(feed(3, 3))
    assert sorted(path.suffix for path in files(tmp_path)) == sorted([f".{form}", ".part"])


@pytest.mark.parametrize("form", ["csv"], indirect=True)
async def test_a_csv_file_with_other_columns_is_finished(open_sink, tmp_path: Path) -> None:
    (tmp_path / "billing-20261121T090000Z-000000000001.csv.part").write_text("sequence,id\n1,http/c1:acme\n")
    await open_sink().deliver(feed(2, 2))
    assert (tmp_path / "billing-20261121T090000Z-000000000001.csv").exists()
    assert sequences(tmp_path) == [1, 2]


async def test_other_peoples_files_are_left_alone(open_sink, tmp_path: Path) -> None:
    others = ["billing-notes.jsonl.part", "billing-eu-20261121T090000Z-000000000001.jsonl.part", "x.part"]
    for name in others:
        (tmp_path / name).write_text("torn")
    await open_sink().deliver(feed(1, 1))
    assert all((tmp_path / name).read_text() == "torn" for name in others)


async def test_a_full_disk_loses_nothing(open_sink, tmp_path: Path) -> None:
    """A limit on the size of files makes the kernel write a part of the batch and then refuse: as a full disk does."""
    sink = open_sink()
    await sink.deliver(feed(1, 3))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (path,) = files(tmp_path)
    before = path.read_bytes()
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        for _ in range(2):
            with pytest.raises(SinkUnavailable, match=str(tmp_path)):
                await sink.deliver(feed(4, 9))
            assert path.read_bytes() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    await sink.deliver(feed(4, 9))
    assert sequences(tmp_path) == list(range(1, 10))


async def test_a_directory_that_cannot_be_made_is_an_unavailable_sink(open_sink, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkUnavailable, match="file"):
        await open_sink(directory=tmp_path / "file" / "cdr").deliver(feed(1, 1))


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from callctl.clock import SystemClock
    from callctl.sinks.file import FileSink
    from tests.contract.feed import FORMATS, feed

    async def main():
        directory, form, accepted = Path(sys.argv[1]), FORMATS[sys.argv[2]], int(sys.argv[3])
        sink = FileSink("billing", directory, form, rotate_bytes=3_000, rotate_ms=10**9, clock=SystemClock())
        while True:
            await sink.deliver(feed(accepted + 1, accepted + 7))
            accepted += 7
            print(accepted, flush=True)

    asyncio.run(main())
"""


def test_killed_again_and_again(tmp_path: Path, form: str) -> None:
    """kill -9 while it writes; what it last called accepted comes again, as the store would have it."""
    accepted = 0
    for kill_after in (1, 3, 4, 7):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), form, str(accepted)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = [writer.stdout.readline() for _ in range(kill_after)]
            writer.kill()
            told += writer.stdout.readlines()
        accepted = max(accepted, int(told[-1]) - 14)  # the store had not yet heard of the last ones
    sink = FileSink("billing", tmp_path, FORMATS[form], rotate_bytes=3_000, rotate_ms=1, clock=SystemClock())
    sink._deliver(feed(accepted + 1, accepted + 200))
    sink._close()
    assert sequences(tmp_path) == list(range(1, accepted + 201))


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("+31612345678", "+31612345678"),
        ("-0.0500", "-0.0500"),
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+31+cmd|' /C calc'!A0", "'+31+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "' =1"),
        ("\r\n=1", "'  =1"),
        ("\ufeff\u202e=1", "'\ufeff\u202e=1"),
        ("Ann;=1+1;+31612345678", "Ann;'=1+1;+31612345678"),
        ("Ann;+31612345678", "Ann;+31612345678"),
        ("a=b", "a=b"),
        ("", ""),
        ('Zoë, "the" caller', 'Zoë, "the" caller'),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    line = Csv().line(dict.fromkeys(COLUMNS) | {"detail": text}).decode()
    (row,) = csv.DictReader([Csv.header.decode(), line])
    assert row["detail"] == cell


def test_csv_cells_of_every_type() -> None:
    values = {"sequence": 7, "exempt": False, "trace": [{"check": "credit"}], "refusal": None}
    line = Csv().line(dict.fromkeys(COLUMNS) | values).decode()
    (row,) = csv.DictReader([Csv.header.decode(), line])
    assert (row["sequence"], row["exempt"], row["refusal"]) == ("7", "false", "")
    assert json.loads(row["trace"]) == [{"check": "credit"}]


def test_a_list_is_on_one_line_and_no_formula_either() -> None:
    line = Csv().line(dict.fromkeys(COLUMNS) | {"trace": [{"saw": "\u2028a\x85;=1"}]}).decode()
    (row,) = csv.DictReader([Csv.header.decode(), line])
    assert json.loads(row["trace"]) == [{"saw": " a ;'=1"}]
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("name", FORMS)
@given(text=st.text())
def test_a_record_is_always_one_line_and_found_again(name: str, text: str) -> None:
    form = FORMATS[name]
    columns = dict.fromkeys(COLUMNS) | {"id": f"a{text}", "detail": text, "from": text}
    line = form.line(columns)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert form.key_of(line) == form.key(columns)


def test_a_line_of_somebody_else_has_no_key() -> None:
    assert JsonLines().key_of(b"rubbish\n") is None
    assert JsonLines().key_of(b"{}\n") is None
    assert Csv().key_of(b"\xff,2\n") is None
    assert Csv().key_of(b"\n") is None
