"""A hostile caller: nothing that somebody calls himself, or dials, becomes anything but a value anywhere.

One daemon hears every text of `hostile.HOSTILE` on every way in; each test looks at one way out.
"""

import asyncio
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from callctl.logs import set_up
from callctl.numbering.dialling import LONGEST_CALLER
from callctl.numbering.line import LONGEST_DIALLED
from callctl.sinks.record import COLUMNS
from tests.e2e.hostile import EVIL, HOSTILE, Aftermath, play, sayable
from tests.servers import Mosquitto, RedisServer

FORMULA = re.compile(r"\s*[=+\-@]")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
WAYS = {"http", "asterisk", "freeswitch", "threecx", "kamailio", "proxy", "gateway"}
TOLD = {
    "asterisk": {
        "AbsoluteTimeout", "ListCommands", "PJSIPHangup", "Ping", "Redirect", "Setvar", "Status", "UserEvent",
    },
    "freeswitch": {
        "global_getvar", "sched_api", "sched_del", "show", "uuid_dump", "uuid_kill", "uuid_setvar_multi",
        "uuid_transfer",
    },
    "threecx": {"answer", "drop", "routeto"},
    "kamailio": {"admit", "arm", "hello", "list", "ping", "reject"},
    "proxy": {"dlg.briefing"},
}  # fmt: skip
"""The kinds of commands that these calls may need, also slow ones; each switch has others that would do harm."""


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, mosquitto: Mosquitto) -> Aftermath:
    return asyncio.run(play(tmp_path_factory.mktemp("hostile"), f"{redis_server.url}/8", mosquitto.port))


def is_plain(text: str) -> bool:
    """Nothing in it moves a cursor, turns a line around or begins another one."""
    return all(character.isprintable() or character == "\n" for character in text)


def test_every_way_in_was_used_and_has_let_calls_through_and_refused_some(after: Aftermath) -> None:
    verdicts = Counter((cdr["switch"], cdr["verdict"]) for cdr in after.cdrs)
    assert verdicts.keys() == {(way, verdict) for way in WAYS for verdict in ("allowed", "refused")}
    assert min(verdicts.values()) >= len(HOSTILE) // 2  # RADIUS drops what does not print


def test_nobody_else_pays(after: Aftermath) -> None:
    assert {cdr["account"] for cdr in after.cdrs if cdr["verdict"] == "allowed"} == {"acme"}
    assert [cdr for cdr in after.cdrs if cdr["account"] == "victim"] == []


@pytest.mark.parametrize("switch", TOLD)
def test_no_command_has_anything_of_a_callers(after: Aftermath, switch: str) -> None:
    told = after.commands[switch]
    assert {kind for kind, _ in told} <= TOLD[switch]
    assert [command for _, command in told if EVIL in command or "victim" in command] == []


def test_an_sbc_or_gateway_reads_nothing_of_a_callers(after: Aftermath) -> None:
    assert [reply for reply in after.words if EVIL in reply] == []


def test_the_api_answers_in_json_and_no_caller_adds_a_key_or_a_header(after: Aftermath) -> None:
    for headers, answer in after.answers:
        assert EVIL not in str(headers)
        assert answer.keys() <= {"error"} or answer["verdict"] in ("allowed", "refused")
        assert answer.get("verdict") != "allowed" or answer["account"] == "acme"


def test_every_log_line_is_one_json_object_of_ours(after: Aftermath) -> None:
    for line in after.log.splitlines():
        assert line.isascii()
        told = json.loads(line)
        assert {"event", "level", "timestamp"} <= told.keys()
        assert re.fullmatch("[a-z_]+", told["event"])
        assert told["level"] in ("info", "warning"), told


@pytest.fixture
def text_log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    set_up(style="text", stream=stream)
    yield stream
    structlog.reset_defaults()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_log_for_people_has_one_plain_line_of_it(text_log: io.StringIO, name: str) -> None:
    text = sayable(HOSTILE[name])
    structlog.get_logger().warning("refused", caller=text, error=f"no such account {text}")
    assert is_plain(text_log.getvalue())
    assert text_log.getvalue().count("\n") == 1


def test_a_record_has_the_number_exactly_as_far_as_one_can_be(after: Aftermath) -> None:
    dialled = {cdr["to"] for cdr in after.cdrs if cdr["switch"] == "http"}
    assert {sayable(text)[:LONGEST_DIALLED] for text in HOSTILE.values()} <= dialled
    assert max(len(cdr["to"]) for cdr in after.cdrs) <= LONGEST_DIALLED
    assert max(len(cdr["from"]) for cdr in after.cdrs) <= LONGEST_CALLER
    assert max(len(cdr["detail"] or "") for cdr in after.cdrs) < 400


def test_json_lines_and_messages_have_what_the_api_shows(after: Aftermath) -> None:
    def told(records: list[dict[str, object]]) -> list[tuple[object, ...]]:
        return sorted((record["id"], record["to"], record["detail"] or "") for record in records)

    assert told([json.loads(line) for line in after.jsonl.split("\n")[:-1]]) == told(after.cdrs)
    assert told([json.loads(payload) for topic, payload in after.messages if "/cdr/" in topic]) == told(after.cdrs)


def test_topics_are_of_accounts_that_we_know(after: Aftermath) -> None:
    assert {topic for topic, _ in after.messages} == {
        "hostile/status", "hostile/cdr/acme", "hostile/cdr/", "hostile/event/refused/",
        *(f"hostile/event/{kind}/acme" for kind in ("admitted", "refused", "answered", "ended")),
    }  # fmt: skip


def test_an_event_has_a_callers_words_as_values_alone(after: Aftermath) -> None:
    events = [(topic.split("/")[2:], json.loads(payload)) for topic, payload in after.messages if "/event/" in topic]
    fields = {"event", "at", "call_id", "switch", "trace_id", "account", "trunk", "direction", "from", "to"}
    for (kind, account), event in events:
        assert event["event"] == kind
        assert event["account"] == (account or None)
        assert fields < event.keys()
        assert EVIL not in str(list(event))
    for kind, verdict in (("ended", "allowed"), ("refused", "refused")):
        told = Counter((event["switch"], event["from"], event["to"]) for _, event in events if event["event"] == kind)
        assert told == Counter((it["switch"], it["from"], it["to"]) for it in after.cdrs if it["verdict"] == verdict)


@pytest.mark.parametrize("splits_at", [",", ";"])
def test_no_cell_is_a_formula_whatever_a_spreadsheet_splits_at(after: Aftermath, splits_at: str) -> None:
    rows = list(csv.reader(io.StringIO(after.csv), delimiter=splits_at))
    assert len(rows) == len(after.csv.splitlines()) == len(after.cdrs) + 1
    if splits_at == ",":
        assert {len(row) for row in rows} == {len(COLUMNS)}
    cells = [cell for row in rows for cell in row]
    assert [cell for cell in cells if FORMULA.match(cell) and not NUMBER.fullmatch(cell)] == []


def test_no_redis_key_has_anything_of_a_callers(after: Aftermath) -> None:
    assert [key for key in after.keys if EVIL in key or not (key.isascii() and key.isprintable())] == []


def test_no_table_on_a_terminal_is_disturbed(after: Aftermath) -> None:
    assert is_plain(after.live)
    assert is_plain(after.listed)
    assert re.findall(r"^live\d+", after.live, re.MULTILINE) == [f"live{at}" for at in range(len(HOSTILE))]
    assert len(after.listed.splitlines()) == len(after.cdrs) + 2  # headings and their rule


def test_no_label_is_a_callers(after: Aftermath) -> None:
    samples = [sample for family in text_string_to_metric_families(after.metrics) for sample in family.samples]
    assert samples
    assert [sample for sample in samples if EVIL in str(sample.labels) or "fake" in sample.name] == []
