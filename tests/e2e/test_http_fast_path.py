"""The fast path: what it takes, what it leaves, and that nobody can tell it from aiohttp."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callctl.http import connection
from callctl.http.app import Site, serve_routes
from callctl.http.auth import Holder, Scope, Tokens
from callctl.http.body import DECISION_LIMIT
from callctl.http.errors import bad_request
from callctl.http.fast_path import LONGEST_HEAD, MOST_FIELDS, FastPath, NotPlain, Request
from callctl.http.routes import Asked, Query, Route, through_aiohttp
from callctl.http.server import HttpServer, Limits
from tests.e2e.front_door import SetClock
from tests.waiting import PATIENCE_S

ONE = "/v1/calls/{call_id}"


async def told(asked: Asked, holder: Holder) -> bytes:
    """What was understood."""
    if asked.body == b"!":
        raise bad_request("refused", "call_id")
    await asyncio.sleep(0)
    return repr((asked, holder.name)).encode()


def route(path: str, *queries: str) -> Route:
    handler = through_aiohttp(told, *queries)
    query = tuple(Query(name, "") for name in queries)
    return Route("POST", path, handler, Scope.CALL, "", query=query, decide=told)


ROUTES = (route("/v1/calls"), *(route(f"{ONE}/{verb}", "switch") for verb in ("answer", "extend", "end")))


def tokens() -> Tokens:
    return Tokens(
        [("ops", Holder("ops", frozenset(Scope))), ("reader", Holder("reader", frozenset({Scope.READ})))], SetClock()
    )


FAST = FastPath(ROUTES, tokens(), SetClock())

PLAIN = {
    "the bench": b"POST /v1/calls HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer ops\r\nContent-Length: 2\r\n\r\n{}",
    "curl": (
        b"POST /v1/calls HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n"
        b"Authorization: Bearer ops\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nnull"
    ),
    "requests": (
        b"POST /v1/calls/c1/answer HTTP/1.1\r\nHost: x\r\nUser-Agent: python-requests/2.32\r\n"
        b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nAuthorization: Bearer ops\r\n"
        b"Content-Length: 0\r\n\r\n"
    ),
    "no body": b"POST /v1/calls/7d2f-4@10.0.0.1/end HTTP/1.1\r\nhost: x\r\nAUTHORIZATION: bearer ops\r\n\r\n",
    "quoted": b"POST /v1/calls/a%2Fb%40c%C3%A9/extend?switch=sbc-1.eu HTTP/1.1\r\nHost:x\r\n\r\n",
    "Keep-Alive": b"POST /v1/calls HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive\r\n\r\n",
}


@pytest.mark.parametrize("raw", PLAIN.values(), ids=PLAIN)
def test_plain_requests_are_taken_when_they_are_complete(raw) -> None:
    request = FAST.read(raw + b"POST /v1/ca")
    assert request is not None
    assert request.size == len(raw)
    for size in range(len(raw)):
        assert FAST.read(raw[:size]) is None


def test_what_a_request_says() -> None:
    request = FAST.read(
        PLAIN["quoted"].replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\nauthorization:  x y \r\n\r\nhi")
    )
    assert request is not None
    assert request.asked == Asked(b"hi", "a/b@cé", "sbc-1.eu")
    assert request.authorization == "x y"
    assert request.scope is Scope.CALL


def post(*fields: bytes, path: bytes = b"/v1/calls", body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    lines = [b"POST %s %s" % (path, version), b"Host: x", b"Authorization: Bearer ops", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


LEFT = {
    "another method": b"GET /v1/calls HTTP/1.1\r\n",
    "another route": post(path=b"/v1/accounts"),
    "another verb": post(path=b"/v1/calls/c1/begin"),
    "no such route": post(path=b"/v1/calls/"),
    "a call": post(path=b"/v1/calls/c1"),
    "a query that is not known": post(path=b"/v1/calls?switch=x"),
    "another query": post(path=b"/v1/calls/c1/end?s=x"),
    "a quoted query": post(path=b"/v1/calls/c1/end?switch=%41"),
    "an id that is not UTF-8": post(path=b"/v1/calls/%FF/end"),
    "half a quoted character": post(path=b"/v1/calls/%4/end"),
    "HTTP/1.0": post(version=b"HTTP/1.0"),
    "close": post(b"Connection: close"),
    "upgrade": post(b"Connection: Upgrade", b"Upgrade: websocket"),
    "an old web socket": post(b"Sec-WebSocket-Key1: x"),
    "upgrade alone": post(b"Upgrade: h2c"),
    "kept by a proxy": post(b"Proxy-Connection: close"),
    "chunks": post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "gzip": post(b"Content-Encoding: gzip"),
    "100-continue": post(b"Expect: 100-continue", b"Content-Length: 2"),
    "no host": b"POST /v1/calls HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "a field twice": post(b"X-Forwarded-For: a", b"x-forwarded-for: b"),
    "two lengths": post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "a length with a sign": post(b"Content-Length: +2", body=b"{}"),
    "a length that is none": post(b"Content-Length:", body=b"{}"),
    "a large body, announced": post(b"Content-Length: %d" % (DECISION_LIMIT + 1)),
    "a huge body, announced": post(b"Content-Length: 10000000"),
    "a folded field": post(b"X: a\r\n b"),
    "a space before the colon": post(b"Content-Length : 2", body=b"{}"),
    "a byte above ASCII": post(b"X: \xe9"),
    "a null byte": post(b"X: \0"),
    "a line feed alone": post(b"X: a\nY: b"),
    "too many fields": post(*(b"X-%d: y" % n for n in range(MOST_FIELDS))),
    "a head without end": b"POST /v1/calls HTTP/1.1\r\nX: " + b"y" * LONGEST_HEAD,
    "a long head": post(b"X: " + b"y" * LONGEST_HEAD),
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "one byte": b"\0",
}


@pytest.mark.parametrize("raw", LEFT.values(), ids=LEFT)
def test_everything_else_is_left(raw) -> None:
    with pytest.raises(NotPlain):
        FAST.read(raw)


# ---- the same bytes both ways, on the loop of the daemon

PATHS = st.sampled_from(
    (
        *(b"/v1/calls", b"/v1/calls/c1/answer", b"/v1/calls/c1/extend", b"/v1/calls/c1/end", b"/v1/explain"),
        *(b"/v1/calls/a%40b/end?switch=sbc1", b"/v1/calls/%2F%252F/end", b"/v1/calls/../end", b"/v1/calls/%2e/end"),
        *(b"/v1/calls/c1/end?switch=", b"/v1/calls/c1/end?switch=a&switch=b", b"/v1/calls/c1/end?x=1"),
        *(b"/v1/calls?switch=x", b"/v1/calls#f", b"/v1/calls/", b"/v1//calls", b"http://x/v1/calls", b"*", b"/"),
        *(b"/v1/calls/c1/end#f", b"/v1/calls/%FF/end", b"/v1/calls/%C3%A9/end", b"/v1/calls/%zz/end"),
    )
) | st.binary(min_size=1, max_size=12).map(lambda raw: b"/v1/calls/%s/answer" % raw)
QUOTED = st.lists(st.integers(0, 255).map(lambda byte: b"%%%02X" % byte), min_size=1, max_size=4).map(b"".join)
FIELDS = st.sampled_from(
    (
        *(b"Authorization: Bearer ops", b"Authorization: Bearer wrong", b"authorization: bearer  ops ", b"X: y"),
        *(b"Authorization: Bearer reader", b"Authorization: Basic b3Bz", b"Authorization: \xe9", b"Authorization:"),
        *(b"Connection: keep-alive", b"Connection: close", b"Connection: Upgrade", b"Upgrade: websocket"),
        *(b"Connection: keep-alive, close", b"Proxy-Connection: close", b"Keep-Alive: timeout=5", b"Trailer: X"),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip"),
        *(b"Content-Encoding: identity", b"Expect: 100-continue", b"Expect: x", b"Content-Type: text/plain"),
        *(b"Content-Length: 0", b"Content-Length: 2", b"Content-Length: -1", b"Content-Length: 1e3"),
        *(b"Content-Length: 99999", b"Content-Length: 0x2", b"Content-Length: 02", b"Content-Length: 2, 2"),
        *(b"Host: x", b"Host:", b"Host: a b", b"X : y", b": y", b"X", b"X:\ty\t", b"X: a\r\n b", b"X: \0", b"X: \x7f"),
        *(b"Sec-WebSocket-Key1: x", b"Cookie: a=b", b"X_Y: z", b"X\xe9: z", b"\xc4: z", b"X: y\rZ: z", b"X: y\nZ: z"),
        *(b"Content-Length:", b"Authorization: Bearer ops\t", b"TE: trailers", b"X-HTTP-Method-Override: GET"),
    )
)
BODIES = st.sampled_from((b"", b"{}", b"!", b"2\r\n{}\r\n0\r\n\r\n", b"\r\n", b"GET / HTTP/1.1\r\n")) | st.binary(
    max_size=30
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that is mostly well-formed, and often plain."""
    method = draw(st.sampled_from([b"POST"] * 8 + [b"GET", b"post", b"PO ST", b"", b"DELETE"]))
    path = draw(PATHS | QUOTED.map(lambda call: b"/v1/calls/%s/end" % call))
    version = draw(st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"", b"http/1.1"]))
    body = draw(BODIES)
    usual = draw(st.sampled_from([True] * 3 + [False]))
    fields = [b"Host: x", b"Authorization: Bearer ops", b"Content-Length: %d" % len(body)] if usual else []
    fields = draw(st.permutations(fields + draw(st.lists(FIELDS, max_size=3))))
    end = draw(st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r"]))
    return end.join([b"%s %s %s" % (method, path, version), *fields]) + end * 2 + body


LAST = b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
DATE = re.compile(rb"\r\nDate: [^\r]*")


def taken(raw: bytes) -> Request | None:
    try:
        return FAST.read(raw)
    except NotPlain:
        return None


class BothWays:
    """The same routes with and without the fast path."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._servers = [self._runner.run(self._server(routes)) for routes in (ROUTES, ())]
        self._fast, self._slow = [self._runner.run(server.start()) for server in self._servers]
        self._last = self.slow(b"")

    async def _server(self, fast: tuple[Route, ...]) -> HttpServer:
        known = tokens()
        site = Site(serve_routes(ROUTES, known), FastPath(fast, known, SetClock()))
        return HttpServer(site, "127.0.0.1", 0, refused=lambda: None, limits=Limits(silence_s=0.2))

    def fast(self, *pieces: bytes) -> bytes:
        """All answers to the end of the connection, but for their dates."""
        *first, last = pieces
        return self._answers(self._fast, [*first, last + LAST])

    def slow(self, raw: bytes) -> bytes:
        """The same of aiohttp alone, which forgets what it has read when the same piece goes on with something broken.

        So plain requests are asked one by one.
        """
        answers = b""
        while request := taken(raw):
            answers += self._answers(self._slow, [raw[: request.size] + LAST]).removesuffix(self._last)
            raw = raw[request.size :]
        return answers + self._answers(self._slow, [raw + LAST])

    def _answers(self, port: int, pieces: list[bytes]) -> bytes:
        return DATE.sub(b"", self._runner.run(self._converse(port, pieces)))

    async def _converse(self, port: int, pieces: list[bytes]) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(PATIENCE_S):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    def close(self) -> None:
        for server in self._servers:
            self._runner.run(server.stop())
        self._runner.close()


@contextmanager
def impatient() -> Iterator[None]:
    """Whatever is not complete is given up at once, so that every example comes to its end."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connection, "PATIENCE_S", 0.02)
        patched.setattr("callctl.http.server._LOOK_EVERY_S", 0.02)
        patched.setattr("callctl.http.body.read.__kwdefaults__", {"timeout_s": 0.05})
        patched.setattr("aiohttp.web_protocol.RequestHandler.log_exception", lambda *_, **__: None)
        yield


@pytest.fixture(scope="module")
def both() -> Iterator[BothWays]:
    with impatient():
        ways = BothWays()
        yield ways
        ways.close()


@given(requests())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nobody_can_tell_which_way_was_taken(both: BothWays, raw: bytes) -> None:
    assert both.fast(raw) == both.slow(raw)


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None)
def test_garbage_is_answered_alike(both: BothWays, garbage: bytes) -> None:
    raw = garbage + b"\r\n\r\n"
    assert both.fast(raw) == both.slow(raw)


@pytest.mark.parametrize("raw", [*PLAIN.values(), *LEFT.values()], ids=[*PLAIN, *LEFT])
def test_each_case_is_answered_alike(both: BothWays, raw: bytes) -> None:
    assert both.fast(raw) == both.slow(raw)


@given(
    st.lists(st.sampled_from(list(PLAIN.values())), min_size=1, max_size=4), requests(), st.lists(st.integers(0, 999))
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_plain_requests_in_any_pieces_are_answered_in_order(
    both: BothWays, plain: list[bytes], other: bytes, cuts: list[int]
) -> None:
    whole = b"".join(plain)
    places = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    pieces = [whole[begin:end] for begin, end in pairwise(places)]
    assert both.fast(*pieces, other) == both.slow(whole + other)
