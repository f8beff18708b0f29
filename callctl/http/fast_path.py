"""The short way to a decision: plain requests, read by one pattern and answered by `Route.decide`, without aiohttp.

Nothing is refused here: whatever the pattern does not know (another route, a chunked or compressed body, an
unusual or broken head) is left to aiohttp. So what is taken here must mean the same to aiohttp; the tests send the
same bytes both ways.
"""

import re
from collections.abc import Awaitable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp.http import SERVER_SOFTWARE

from callctl.http import errors
from callctl.http.auth import Scope, Tokens
from callctl.http.body import DECISION_LIMIT
from callctl.http.routes import Asked, Decide, Route
from callctl.ports import Clock

LONGEST_HEAD = 8_000
"""Less than aiohttp takes for one line of it."""
LARGEST = LONGEST_HEAD + DECISION_LIMIT
MOST_FIELDS = 64
_MOST_DIGITS = len(str(DECISION_LIMIT))

_BEGIN = b"POST /v1/"
_END_OF_LINE = b"\r\n"
_END_OF_HEAD = _END_OF_LINE * 2
_LINE_ENDS, _HEAD_ENDS = len(_END_OF_LINE), len(_END_OF_HEAD)
_LINE = re.compile(
    rb"POST (?P<path>/v1/[a-z]+)(?:/(?P<call>[\w.~!$&'()*+,;=:@%-]+)/(?P<verb>[a-z]+))?"
    rb"(?:\?switch=(?P<switch>[\w.-]+))? HTTP/1\.1"
)
_FIELDS = re.compile(rb"(?:[\w-]+:[\x20-\x7e]*\r\n)+")
_NOT_QUOTED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_FIELD = re.compile(rb"([\w-]+):([^\r]*)\r\n")
_NOT_PLAIN = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"proxy-connection", b"sec-websocket-key1"}
)
"""Fields that change how a request is read or answered."""


Line = tuple[Decide, Scope, str, str | None]
"""What a request line asks for, for whom, the call id in its path and the switch in its query."""


class NotPlain(Exception):
    """Not a request for the short way."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One plain request. `size`: how many bytes it was."""

    decide: Decide
    scope: Scope
    authorization: str | None
    asked: Asked
    size: int


class FastPath:
    """Reads requests for those of `routes` that have a `decide`, and answers them as aiohttp would."""

    def __init__(self, routes: Iterable[Route], tokens: Tokens, clock: Clock) -> None:
        self._routes = {
            route.path.encode(): (route.decide, route.scope, bool(route.query))
            for route in routes
            if route.decide is not None and route.scope is not None
        }
        self._lines: dict[bytes, Line] = {
            b"POST %b HTTP/1.1" % path: (decide, scope, "", None)
            for path, (decide, scope, _) in self._routes.items()
            if b"{" not in path
        }
        self._tokens = tokens
        self._clock = clock
        self._end = b""
        self._dated_s = 0

    def read(self, data: bytes) -> Request | None:
        """The request that `data` begins with; None while more of it must come. NotPlain where it is none of ours."""
        head = data.find(_END_OF_HEAD, 0, LONGEST_HEAD)
        if head < 0:
            if not data.startswith(_BEGIN[: len(data)]) or len(data) >= LONGEST_HEAD:
                raise NotPlain
            return None
        line, _, block = data[: head + _LINE_ENDS].partition(_END_OF_LINE)
        decide, scope, call_id, switch = self._lines.get(line) or self._line(line)
        authorization, length = _fields(block)
        begin = head + _HEAD_ENDS
        end = begin + length
        if len(data) < end:
            return None
        return Request(decide, scope, authorization, Asked(data[begin:end], call_id, switch), end)

    def _line(self, line: bytes) -> Line:
        said = _LINE.fullmatch(line)
        if said is None:
            raise NotPlain
        path, call, verb, switch = said.groups()
        route = self._routes.get(path if call is None else b"%s/{call_id}/%s" % (path, verb))
        if route is None:
            raise NotPlain
        decide, scope, may_name_switch = route
        if switch and not may_name_switch:
            raise NotPlain
        return decide, scope, _unquoted(call) if call else "", switch.decode() if switch else None

    def decide(self, request: Request, peer: str) -> Awaitable[bytes]:
        """The body of the answer, to come. HttpError and what `decide` raises."""
        return request.decide(request.asked, self._tokens.holder(request.authorization, peer, request.scope))

    def response(self, decided: bytes | Exception) -> bytes:
        """The whole of it. Raises nothing: whatever went wrong, the client is answered; ours is logged there."""
        if isinstance(decided, Exception):
            return self._failed(errors.answer(decided))
        return b"".join((_OK, b"%d" % len(decided), self._dated(), decided))

    def _failed(self, said: errors.Answer) -> bytes:
        fields = "".join([f"{name}: {value}\r\n" for name, value in said.headers.items()])
        head = f"HTTP/1.1 {said.status} {HTTPStatus(said.status).phrase}\r\n{fields}Content-Length: {len(said.body)}"
        return b"".join((head.encode(), self._dated(), said.body))

    def _dated(self) -> bytes:
        """The end of a head, behind the length."""
        now_s = self._clock.now().wall_ms // 1000
        if now_s != self._dated_s:
            date = formatdate(now_s, usegmt=True)
            self._dated_s = now_s
            self._end = f"\r\nDate: {date}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n".encode()
        return self._end


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


@lru_cache(maxsize=1_024)
def _fields(block: bytes) -> tuple[str | None, int]:
    """Of a head: Authorization, if there is one, and the length of the body. Most clients repeat theirs."""
    pairs = _FIELD.findall(block) if _FIELDS.fullmatch(block) else []
    fields = {name.lower(): value for name, value in pairs}
    length = fields.get(b"content-length", b"0").strip()
    plain = (
        len(fields) == len(pairs) <= MOST_FIELDS
        and b"host" in fields
        and (b"connection" not in fields or fields[b"connection"].strip().lower() == b"keep-alive")
        and fields.keys().isdisjoint(_NOT_PLAIN)
        and length.isdigit()
        and len(length) <= _MOST_DIGITS
        and int(length) <= DECISION_LIMIT
    )
    if not plain:
        raise NotPlain
    authorization = fields.get(b"authorization")
    return authorization.decode().strip() if authorization is not None else None, int(length)


def _unquoted(call: bytes) -> str:
    if b"%" not in call:
        return call.decode()
    if _NOT_QUOTED.search(call):
        raise NotPlain
    try:
        return unquote_to_bytes(call).decode()
    except UnicodeDecodeError:
        raise NotPlain from None
