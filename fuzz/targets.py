"""What must hold of each parser, for any bytes. A check raises where it does not.

A parser raises nothing but what it declares, reads the same messages wherever TCP has cut the stream, and reads
nothing more after a fault. What we write is read back as the one message that was meant.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from callctl.adapters.asterisk import translate as asterisk
from callctl.adapters.asterisk import wire as ami
from callctl.adapters.call_control import wire as call_control
from callctl.adapters.freeswitch import times as freeswitch_times
from callctl.adapters.freeswitch import translate as freeswitch
from callctl.adapters.freeswitch import wire as esl
from callctl.adapters.kamailio import translate as kamailio
from callctl.adapters.kamailio import wire as netstring
from callctl.adapters.radius import wire as radius
from callctl.adapters.switch_time import SwitchTime
from callctl.adapters.threecx import crosscheck, tokens, xapi
from callctl.adapters.threecx import wire as threecx
from callctl.clock import Instant
from callctl.errors import DeckError
from callctl.http.asked import AnswerReport, Authorize, EndReport
from callctl.http.auth import Scope, Tokens
from callctl.http.body import decode
from callctl.http.errors import HttpError
from callctl.http.fast_path import FastPath, NotPlain
from callctl.http.routes import Asked, Route, through_aiohttp
from callctl.rating.decks.deck import export_deck, import_deck
from callctl.rating.decks.sheet import decode as decode_sheet
from callctl.rating.tariff import Plan
from callctl.sinks.lines import Csv, JsonLines
from callctl.sinks.record import COLUMNS
from tests.radius_packets import SECRET, question, report

NOW: Final = Instant(1_795_300_000_000, 1)
NAS: Final = radius.Client("192.0.2.7", SECRET, signed=False)
UTC: Final = ZoneInfo("UTC")
REPORTS: Final = [msgspec.json.Decoder(kind) for kind in (Authorize, AnswerReport, EndReport)]


def _in_pieces(make: Callable[[], Any], data: bytes) -> list[Any]:
    """The messages of a stream. AssertionError where they depend on how it was cut, or come after a fault."""
    places = [*range(0, len(data), 1 + sum(data) % 7 + len(data) // 100), len(data)]
    whole, cut = make(), make()
    messages = list(whole.feed(data))
    pieces = [message for begin, end in pairwise(places) for message in cut.feed(data[begin:end])]
    assert repr(pieces) == repr(messages)
    assert bool(cut.fault) == bool(whole.fault)
    if whole.fault:
        assert list(whole.feed(data)) == []
    return messages


def check_ami(data: bytes) -> None:
    book = asterisk.Translator("pbx1", SwitchTime(), lambda endpoint: endpoint == "rig")
    for message in _in_pieces(ami.Reader, data):
        message.variables()
        message.user_headers()
        for event in book.translate(message, NOW):
            msgspec.json.encode(event)


def check_esl(data: bytes) -> None:
    book = freeswitch.Translator("fs1", freeswitch_times.SwitchTime(), lambda name: name == "rig")
    for frame in _in_pieces(esl.Reader, data):
        esl.parse_dump(frame.text)
        esl.parse_rows(frame.text)
        for told in (esl.parse_event(frame.body), esl.decoded(esl.parse_headers(frame.body))):
            if told is not None:
                book.translate(told, NOW)
                book.ended_unseen(told, NOW)


def check_netstring(data: bytes) -> None:
    book = kamailio.Translator("sbc1", SwitchTime())
    for content in _in_pieces(netstring.Reader, data):
        message = netstring.decode(content)
        if message is not None:
            book.translate(message, NOW)
            assert isinstance(message.word, str)
            with suppress(ValueError):
                book.listed(message.dialogs(), book.known(), NOW)


def check_call_control(data: bytes) -> None:
    with suppress(ValueError):
        asked = call_control.parse(data)
        told = msgspec.structs.astuple(asked)
        assert all(value is None or value.isprintable() for value in told)


def check_radius(data: bytes) -> None:
    """The bytes as a datagram, and as the attributes of signed ones."""
    request = radius.Disconnect(NAS, 5, radius.Names(call_id="c1"), "acme")
    for read in (
        lambda: radius.Question(data, NAS),
        lambda: radius.Report(data, NAS),
        lambda: request.outcome(data),
        lambda: radius.Question(question(data[:4_000]), NAS).accept("c1@192.0.2.7", 60, 60),
        lambda: radius.Question(question(data[:4_000], signed=False), NAS).reject(4, "no credit"),
        lambda: radius.Report(report(data[:4_000]), NAS).acknowledge(),
        lambda: radius.still_here(question(data[:4_000], code=12), NAS, accounting=False),
    ):
        with suppress(radius.Untrusted, radius.Malformed):
            read()


def check_threecx(data: bytes) -> None:
    told = threecx.decoded(data)
    threecx.event(data)
    threecx.lines(told)
    threecx.outcome(told)
    for participant in threecx.participants(told, "900"):
        msgspec.json.encode(participant.after(participant))
    tokens.grant_of(told)
    text = data.decode("utf-8", "replace")
    crosscheck.parse_line(text, crosscheck.FIELDS, UTC)
    xapi.duration_ms(text)


def check_http(data: bytes) -> None:
    """What is taken on the short way is whole, and was not taken before it was."""
    with suppress(NotPlain):
        request = FAST.read(data)
        if request is not None:
            assert FAST.read(data[: request.size]) == request
            for size in {0, 1, request.size // 2, request.size - 1}:
                assert FAST.read(data[:size]) is None
    for decoder in REPORTS:
        with suppress(msgspec.DecodeError, HttpError, UnicodeDecodeError):
            decode(decoder, data)


def check_deck(data: bytes) -> None:
    """What was read is written so that it reads again to the same."""
    try:
        text = decode_sheet(data)
    except DeckError:
        return
    plan = Plan("p")
    deck = import_deck(text, plan)
    if not deck.errors:
        assert import_deck("".join(export_deck(deck.rows)), plan).rows == deck.rows


def check_commands(data: bytes) -> None:
    """A text of a caller in everything that we write to a switch: it stays a value, or is refused."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(ValueError):
        (action,) = ami.Reader().feed(ami.encode_action("Setvar", [("Value", text)], "1"))
        assert action.pairs() == [("Action", "Setvar"), ("ActionID", "1"), ("Value", text)]
    with suppress(esl.Unsendable):
        assert esl.encode_command(f"api uuid_kill {text}").count(b"\n") == 2
    with suppress(esl.Unsendable):
        assert len(f"uuid_kill {esl.word(text)} X".split(" ")) == 3
    with suppress(esl.Unsendable):
        assert esl.assignments({"a": text, "b": "2"}).split(";") == [f"a={text}", "b=2"]
    with suppress(ValueError):
        (content,) = netstring.Reader().feed(netstring.encode({"id": 1, "call": text}))
        assert msgspec.json.decode(content) == {"id": 1, "call": text}


def check_records(data: bytes) -> None:
    """A text of a caller in a record: a file has one line of it, whose key is found again; JSON keeps it exactly."""
    text = data.decode("utf-8", "replace")
    columns = {**dict.fromkeys(COLUMNS), "id": f"{text}/c", "from": text, "trace": [{"saw": text}]}
    for form in (JsonLines(), Csv()):
        line = form.line(columns)
        assert line.count(b"\n") == 1
        assert len(line.decode().splitlines()) == 1 or isinstance(form, JsonLines)
        assert form.key_of(line) == form.key(columns)
    assert msgspec.json.decode(JsonLines().line(columns)) == columns


async def _decide(_asked: Asked, _holder: object) -> bytes:
    return b""


class _Standing:
    """A clock for what never looks at it."""

    def now(self) -> Instant:
        return NOW

    async def sleep_ms(self, ms: int) -> None: ...


def _route(path: str) -> Route:
    return Route("POST", path, through_aiohttp(_decide), Scope.CALL, "", decide=_decide)


FAST: Final = FastPath(
    [_route("/v1/calls"), *(_route(f"/v1/calls/{{call_id}}/{verb}") for verb in ("answer", "extend", "end"))],
    Tokens((), _Standing()),
    _Standing(),
)

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "ami": check_ami,
    "esl": check_esl,
    "netstring": check_netstring,
    "call_control": check_call_control,
    "radius": check_radius,
    "threecx": check_threecx,
    "http": check_http,
    "deck": check_deck,
    "commands": check_commands,
    "records": check_records,
}
