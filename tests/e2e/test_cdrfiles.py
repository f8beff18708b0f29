"""CDR files as people have them: several, zipped, torn, broken. Nothing is dropped in silence."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from callctl.cli.cdrfiles import LONGEST_LINE, NAMED_AT_MOST, CdrReader, expand
from callctl.cli.exits import WrongUseError
from callctl.rating.whatif.calls import PastRecord
from callctl.sinks.lines import Csv, JsonLines
from callctl.sinks.record import COLUMNS

CALL: dict[str, Any] = dict.fromkeys(COLUMNS) | {
    "sequence": 1, "id": "http/c1:acme", "call_id": "c1", "switch": "http", "account": "acme", "role": "customer",
    "direction": "outbound", "to": "+31612345678", "setup_time": "2026-11-01T10:00:00.000Z",
    "answer_time": "2026-11-01T10:00:05.250Z", "duration_ms": 59_001, "duration_s": 60, "billed_s": 60, "unbilled_s": 0,
    "plan": "retail", "charge": "0.1450", "gross": "0.1450", "surcharge": "0.0000", "bundle_s": 0, "cost": None,
    "exempt": False, "currency": "EUR", "verdict": "allowed", "estimated": False, "taxes": [], "affiliates": [],
    "parts": [{"name": "airtime", "plan": "sim", "row": "31", "charge": "0.0600"}],
}  # fmt: skip
GOOD = JsonLines().line(CALL)
OTHER = JsonLines().line(CALL | {"id": "http/c2:acme"})


def read(*paths: Path) -> tuple[CdrReader, list[PastRecord]]:
    reader = CdrReader()
    return reader, list(reader.files(paths, lambda _: None))


@pytest.mark.parametrize("zipped", [False, True])
def test_lines_and_csv_tell_the_same(tmp_path: Path, zipped: bool) -> None:
    pack = gzip.compress if zipped else bytes
    ending = ".gz" if zipped else ""
    (tmp_path / f"a.jsonl{ending}").write_bytes(pack(GOOD))
    (tmp_path / f"b.csv{ending}").write_bytes(pack(Csv().header + Csv().line(CALL)))
    files = expand([str(tmp_path)])
    [first], [second] = (read(file)[1] for file in files)
    assert first == second
    reader, both = read(*files)
    assert both == [first]
    assert (first.setup_ms, first.answer_s, first.revenue, first.paid) == (
        1_793_527_200_000,
        1_793_527_205,
        145_000,
        None,
    )
    assert first.besides == 60_000
    assert (reader.records, reader.broken, reader.repeated) == (1, 0, 1)


def test_what_comes_again_counts_once(tmp_path: Path) -> None:
    """Among so many that the table of those that are known grows; a call's id may be used again another day."""
    file, copy, later = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    many = [CALL | {"id": f"http/c{n}:acme"} for n in range(3_000)]
    file.write_bytes(b"".join(map(JsonLines().line, many)))
    copy.write_bytes(file.read_bytes())
    later.write_bytes(JsonLines().line(many[0] | {"setup_time": "2026-12-01T10:00:00.000Z"}))
    reader, found = read(file, copy, later)
    assert (len(found), reader.records, reader.repeated) == (3_001, 3_001, 3_000)


@pytest.mark.parametrize("form", [JsonLines(), Csv()])
def test_charges_and_shares_are_no_calls(tmp_path: Path, form: Any) -> None:
    file = tmp_path / f"a{form.suffix}"
    charge = CALL | {"direction": "charge", "kind": "mrc"}
    share = CALL | {"role": "affiliate", "call_id": "", "parts": None, "share": "0.0145"}
    file.write_bytes(form.header + b"".join(map(form.line, (CALL, charge, share))))
    reader, found = read(file)
    assert (len(found), reader.records, reader.broken, reader.besides) == (1, 1, 0, 2)


def test_a_name_that_a_spreadsheet_would_calculate(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(Csv().header + Csv().line(CALL | {"destination": "=1+1", "id": "-x"}))
    _, [record] = read(file)
    assert (record.destination, record.id, record.to) == ("=1+1", "-x", "+31612345678")


def test_broken_lines_are_named_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    wrong_amount = JsonLines().line(CALL | {"charge": "much"})
    no_zone = JsonLines().line(CALL | {"setup_time": "2026-11-01T10:00:00"})
    file.write_bytes(b"garbage\n" + GOOD + b"\n" + wrong_amount + no_zone + b"\xff\xfe\n" + OTHER)
    reader, found = read(file)
    assert (len(found), reader.records, reader.broken, reader.torn) == (2, 2, 4, [])
    assert [line.split(": ")[1] for line in reader.named] == ["line 1", "line 4", "line 5", "line 6"]
    assert all(line.startswith(f"{file}: ") for line in reader.named)
    assert "'much' is not a decimal number" in reader.named[1]
    assert "$.setup_time" in reader.named[2]


@pytest.mark.parametrize("form", [JsonLines(), Csv()])
def test_half_a_last_line_is_a_notice(tmp_path: Path, form: Any) -> None:
    file = tmp_path / f"a{form.suffix}"
    file.write_bytes(form.header + form.line(CALL) + form.line(CALL)[:-100])
    reader, found = read(file)
    assert (len(found), reader.broken) == (1, 0)
    last = 3 if form.header else 2
    assert reader.torn == [f"{file}: line {last} is half a line, and was left out"]


def test_a_whole_last_line_without_its_end_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD + OTHER.rstrip())
    reader, found = read(file)
    assert (len(found), reader.torn) == (2, [])


def test_an_archive_that_breaks_off(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.gz"
    file.write_bytes(gzip.compress(b"".join(JsonLines().line(CALL | {"id": str(n)}) for n in range(1000)))[:-50])
    reader, found = read(file)
    assert reader.broken == 1
    assert f"line {len(found) + 1}: the archive breaks off here" in reader.named[0]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x" * (3 * LONGEST_LINE) + b"\n" + GOOD)
    reader, found = read(file)
    assert (len(found), reader.broken) == (1, 1)
    assert "line 1: " in reader.named[0]


def test_many_broken_lines_are_all_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"{}\n" * 100)
    reader, _ = read(file)
    assert (reader.broken, len(reader.named)) == (100, NAMED_AT_MOST)


def test_what_is_no_cdr_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    for head in (b"prefix,per_minute", Csv().header.decode().encode("utf-16"), b'"id,call_id'):
        file.write_bytes(head + b"\n31,0.05\n")
        with pytest.raises(WrongUseError, match="no column id, call_id"):
            read(file)


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.touch()
    reader, found = read(file)
    assert (found, reader.broken) == ([], 0)


def test_each_file_once_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("2.jsonl", "1.jsonl.gz", "3.csv", "3.csv.part", "notes.txt"):
        (tmp_path / name).touch()
    names = [path.name for path in expand([str(tmp_path / "1*"), str(tmp_path), str(tmp_path / "2.jsonl")])]
    assert names == ["1.jsonl.gz", "2.jsonl", "3.csv"]
    with pytest.raises(WrongUseError, match="there is no such file"):
        expand([str(tmp_path / "4*")])


def test_progress_ends_at_the_size(tmp_path: Path) -> None:
    heard: list[int] = []
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(GOOD * 1_500)
    list(CdrReader().files(expand([str(tmp_path)]), heard.append))
    assert heard == sorted(heard)
    assert heard[-1] == 3_000 * len(GOOD)
