"""What callers may call themselves and dial, on every way into a daemon, and what has come of it on every way out."""

import asyncio
import json
import socket
import time
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec
from redis import Redis

from callctl.adapters.call_control.wire import MOST_BYTES
from callctl.adapters.kamailio.wire import Reader
from callctl.call.news import Kind
from callctl.simulators import ami, esl
from callctl.simulators.threecx import Far, Setup, ThreeCxSimulator
from tests.contract.nas import ACCEPT, START, STOP, Nas
from tests.contract.proxy import Worker, management, start, stop
from tests.contract.subscriber import Subscriber
from tests.e2e.command import callctl
from tests.e2e.daemon import TOKEN
from tests.e2e.provider import Provider
from tests.radius_packets import SECRET, number, pairs, question, report
from tests.servers import free_port
from tests.waiting import PATIENCE_S

CLASS = 25  # what the gateway calls the call, for it to repeat
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}
NUMBER, HOME = "+31612345678", "+31201234567"
EVIL = "evil"
"""It stands in every text, so that it is found wherever it has come to."""

HOSTILE = {
    "headers": "evil\r\nAction: Originate\r\nAccount: victim",
    "another message": "evil\r\n\r\nEvent: UserEvent\r\nUserEvent: CCAuthorize\r\nUniqueid: 7\r\nAccount: victim",
    "commands": "evil\n\napi hupall\n\n",
    "a folded header": "evil\r\n diverter: victim@example.com\r\n ",
    "NUL": "evil\0bob",
    "quotes": "evil\"'`\\",
    "separators": "evil|b;c,d\te",
    "a formula": "=cmd|' /C evil'!A0",
    "a sum": "+1+1+evil",
    "a difference": "-2+3-evil",
    "a function": "@SUM(evil)",
    "a formula behind a semicolon": "a;=evil()",
    "a formula behind a tab": "\t=evil()",
    "a terminal": "\x1b[2J\x1b]0;evil\x07\r",
    "directions": "\u202egnp.live\u200f\u2066evil",
    "lines": "evil\u2028b\u2029c\x85d",
    "length": "evil" * 2_500,
    "expressions": "evil${x}{{7*7}}#{1}$(id)`id`",
    "formats": "evil%s%n%(x)s%0d%0aX: y\\n\\r{0}{x!r}",
    "JSON": 'evil","verdict":"allowed","x":"',
    "a topic": "evil/+/#",
    "a label": 'evil"} 1\ncallctl_fake{a="b',
    "markup": "[bold red]evil[/] :boom: <b>",
    "a key": "{acme}:a:evil",
    "a path": "../../evil",
    "bytes": "evil\udcf6\udcff",  # Latin-1, and what is never UTF-8
}


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def sayable(text: str) -> str:
    """As JSON can have it."""
    return octets(text).decode("utf-8", "replace")


class Sbc:
    """The other end of the evapi link: lets a call ring, answers it and ends it, as far as callctl lets it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._over: dict[int, asyncio.Event] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def call(self, **fields: str) -> None:
        number = len(self._calls) + 1
        names = {"h_entry": number, "h_id": 1, "tag": "t", "index": number, "label": 1, "call": f"{number}@x"}
        self._calls[number], self._over[number] = {**names, "account": "acme", **fields}, asyncio.Event()
        self._tell(number, "offer")
        async with asyncio.timeout(PATIENCE_S):
            await self._over[number].wait()

    def _tell(self, number: int, event: str, **more: object) -> None:
        now = f"{time.time():.6f}"
        self._send({"event": event, "at": now, **self._calls[number], **more})

    def _send(self, message: dict[str, object]) -> None:
        content = msgspec.json.encode(message)
        self._writer.write(b"%d:%b," % (len(content), content))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, frames = writer, Reader()
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                for frame in frames.feed(data):
                    self._obey(msgspec.json.decode(frame))
        writer.close()

    def _obey(self, command: dict[str, Any]) -> None:
        self.asked.append(command)
        results: dict[str, Any] = {"hello": "welcome", "ping": "pong", "list": []}
        self._send({"id": command["id"], "result": results.get(command["do"], "done"), "missed": 0})
        if command["do"] in ("admit", "reject"):
            number = command["index"]
            if command["do"] == "admit":
                self._tell(number, "answered", trunk="carrier")
            self._tell(number, "ended", by="caller", code=200 if command["do"] == "admit" else command["code"])
            self._over[number].set()


class House:
    """A daemon on a real Redis, with every way in and out."""

    def __init__(self, home: Path, redis_url: str, mqtt_port: int) -> None:
        self.home = home
        self.redis_url = redis_url
        self.asterisk = ami.AmiSimulator({"cc": ami.User("pw", filtered=True)})
        self.freeswitch = esl.EslSimulator("pw")
        self.threecx = ThreeCxSimulator(Setup(sim_calls=64, extensions=("201",), watched=("201",)))
        self.threecx.pbx.any_far = Far(rings_s=0, talks_s=0)
        self.sbc = Sbc()
        self.nas = Nas(free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM))
        self.subscriber = Subscriber(mqtt_port, "hostile")
        self.words: list[str] = []
        self.answers: list[tuple[str, dict[str, Any]]] = []
        self._mqtt_port = mqtt_port
        self._stack = AsyncExitStack()
        self._calls = count(1)

    async def __aenter__(self) -> Self:
        for each in (self.asterisk, self.freeswitch, self.threecx, self.sbc, self.nas):
            await self._stack.enter_async_context(each)  # type: ignore[arg-type]
        self.management = await self._stack.enter_async_context(management(self.home / "rpc.sock"))
        listening = asyncio.create_task(self.subscriber.run())
        self._stack.callback(listening.cancel)
        await self.subscriber.listening.wait()
        self.daemon = Provider(self.home, redis_url=self.redis_url, more=self._configuration())
        await self._stack.enter_async_context(self.daemon)
        await self.daemon.furnish("1000.00", numbers=[HOME], source_ips=["192.0.2.10"])
        await self.daemon.good("PUT", "/v1/accounts/victim", {"kind": "postpaid", "plan": "standard"})
        await self.daemon.until(self._linked)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _linked(self) -> bool:
        _, said = await self.daemon.ask("GET", "/readyz")
        return all(link["up"] for link in said["links"])

    def _configuration(self) -> str:
        nas = self.nas
        return f"""
[[sink]]
name = "sheets"
kind = "file"
directory = "csv"
format = "csv"
[[sink]]
name = "events"
kind = "mqtt"
port = {self._mqtt_port}
topic_prefix = "hostile"
events = {json.dumps(tuple(Kind))}
[[switch]]
name = "asterisk"
kind = "asterisk"
port = {self.asterisk.port}
username = "cc"
secret = "pw"
[[switch]]
name = "freeswitch"
kind = "freeswitch"
port = {self.freeswitch.port}
secret = "pw"
[[switch]]
name = "threecx"
kind = "threecx"
port = {self.threecx.port}
tls = false
client_id = "900"
secret = "secret"
account = "acme"
routes = {{ "{HOME}" = "201" }}
[[switch]]
name = "kamailio"
kind = "kamailio"
port = {self.sbc.port}
[[switch]]
name = "proxy"
kind = "call_control"
path = "{self.home}/cc.sock"
management = "{self.home}/rpc.sock"
trust_diverter = true
[[switch]]
name = "gateway"
kind = "radius"
auth_port = {nas.auth_port}
acct_port = {nas.acct_port}
[[switch.client]]
address = "127.0.0.1"
secret = "{SECRET.decode()}"
disconnect_port = {nas.disconnect_port}
"""

    async def all_recorded(self) -> bool:
        """No call is up, and the sinks have what the API shows."""
        if (await self.daemon.good("GET", "/v1/calls"))["calls"]:
            return False
        cdrs = len(await self.daemon.cdrs())
        lines = [text_in(self.home / folder).count("\n") for folder in ("cdr", "csv")]
        told = [
            topic for topic, _, _ in self.subscriber.heard if "/event/ended/" in topic or "/event/refused/" in topic
        ]
        return lines == [cdrs, cdrs + 1] and len(self.subscriber.sequences) == len(told) == cdrs

    async def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.daemon.port}/metrics"
        async with aiohttp.request("GET", url, headers=AUTHORIZATION) as answer:
            return await answer.text()

    async def _ask(self, asked: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        url = f"http://127.0.0.1:{self.daemon.port}/v1/calls"
        async with aiohttp.request("POST", url, json=asked, headers=AUTHORIZATION) as answer:
            return repr(answer.raw_headers), await answer.json()

    async def hear(self, text: str) -> None:
        """A caller of this name, and one who dials it, on every way in."""
        calls = (
            self._by_http, self._by_asterisk, self._by_freeswitch, self._by_threecx, self._by_kamailio, self._by_proxy,
            self._by_gateway,
        )  # fmt: skip
        async with asyncio.timeout(2 * PATIENCE_S):
            await asyncio.gather(*(call(text) for call in calls))

    async def _by_http(self, text: str) -> None:
        said = sayable(text)
        for fields in (
            {"from": said},
            {"from": said[:64]},
            {"to": said[:64]},
            {"account": said[:64]},
            {"trunk": said[:64], "account": None},
            {"source_ip": said[:64], "account": None},
            {"call_id": said[:200]},
        ):
            asked = {"call_id": f"h{next(self._calls)}", "from": HOME, "to": NUMBER, "account": "acme", **fields}
            headers, answer = await self._ask(asked)
            self.answers.append((headers, answer))
            if answer.get("verdict") == "allowed":
                path = f"/v1/calls/{quote(str(asked['call_id']), safe='')}"
                for verb in ("answer", "end"):
                    await self.daemon.good("POST", f"{path}/{verb}", {})

    async def _by_asterisk(self, text: str) -> None:
        """No event of a real one has an empty line within: chan_pjsip cuts a number there, and the dialplan filters."""
        if "\r\n\r\n" in text:
            return
        for fields in ({"caller": text, "caller_name": text}, {"called": text}):
            script = ami.Script(**{"caller": HOME, "called": NUMBER, **fields}, account="acme", ring_s=0, talk_s=0)
            await self.asterisk.place_call(script).outcome()

    async def _by_freeswitch(self, text: str) -> None:
        usual = {"caller": HOME, "called": NUMBER, "account": "acme"}
        for fields in ({"caller": text, "caller_name": text}, {"called": text}, {"account": text}):
            await self.freeswitch.place_call(esl.Script(**{**usual, **fields}, ring_s=0, talk_s=0.1)).outcome()

    async def _by_threecx(self, text: str) -> None:
        pbx, said = self.threecx.pbx, sayable(text)
        for call in (pbx.inbound(HOME, said, "900"), pbx.phone_dials("201", said, via="900")):
            assert call is not None
            await call.over.wait()

    async def _by_kamailio(self, text: str) -> None:
        said = sayable(text)
        for fields in ({"from": said}, {"to": said}, {"call": said}, {"tag": said}, {"account": said}):
            await self.sbc.call(**{"from": HOME, "to": NUMBER, **fields})

    async def _by_proxy(self, text: str) -> None:
        folded = text.replace("\r\n", "\r\n ")  # as SIP has it: a line that begins with a blank
        for sender, to in ((f"{folded} <sip:{HOME}@x>", NUMBER), (f"<sip:{folded}@x>", NUMBER), (HOME, folded)):
            call_id = f"p{next(self._calls)}"
            lines = ["init", f"ruri: sip:{to}@x", "diverter: None", "sourceip: 192.0.2.10", f"callid: {call_id}"]
            request = octets("\r\n".join([*lines, f"from: {sender}", "fromtag: t"]))
            async with Worker(self.home / "cc.sock") as worker:
                try:
                    await worker.send(request + b"\r\n\r\n")
                    reply = await worker.reply()
                except ConnectionError:
                    reply = ""
                assert (reply == "") is (len(request) > MOST_BYTES)
                self.words.append(reply)
                if reply == "Limited":
                    assert await worker.ask(start(call_id)) == "Ok"
                    assert await worker.ask(stop(call_id)) == "Ok"

    async def _by_gateway(self, text: str) -> None:
        said = octets(text)[:253]
        for attribute in (1, 30, 31, 44):
            session = f"g{next(self._calls)}".encode()
            told_of = {1: b"acme", 30: NUMBER.encode(), 31: HOME.encode(), 44: session, attribute: said}
            datagram = question(list(told_of.items()), nonce=self.nas.nonce())
            if not said.decode(errors="backslashreplace").strip("\0 ").isprintable():
                self.nas.send(datagram, self.nas.auth_port)  # dropped
                continue
            answer = await self.nas.exchange(datagram, self.nas.auth_port)
            self.words += [repr(value) for kind, value in pairs(answer) if kind != CLASS]
            if answer[0] == ACCEPT:
                for status, talked_s in ((START, 0), (STOP, 1)):
                    report_of = [(40, number(status)), (44, told_of[44]), (46, number(talked_s))]
                    await self.nas.exchange(report(report_of), self.nas.acct_port)


class Aftermath(msgspec.Struct, frozen=True):
    """What was left behind. `live`: `callctl calls` with hostile calls up; `listed`: `callctl cdr list`.

    `commands`: what each switch was told, by its kind and whole, but for the Call-ID by which Kamailio locks a dialog.
    `words`: what those who ask over call_control and RADIUS were answered, `answers`: over HTTP, headers and body.
    """

    cdrs: list[dict[str, Any]]
    jsonl: str
    csv: str
    log: str
    messages: list[tuple[str, bytes]]
    keys: list[str]
    live: str
    listed: str
    metrics: str
    commands: dict[str, list[tuple[str, str]]]
    words: list[str]
    answers: list[tuple[str, dict[str, Any]]]


async def play(home: Path, redis_url: str, mqtt_port: int) -> Aftermath:
    """Every hostile text by every way into one daemon."""
    with Redis.from_url(redis_url) as client:
        client.flushdb()
        async with House(home, redis_url, mqtt_port) as house:
            for text in HOSTILE.values():
                await house.hear(text)
            daemon = house.daemon
            for at, text in enumerate(HOSTILE.values()):
                await daemon.call(f"live{at}", **{"from": sayable(text)[:64]})
            live = await callctl("calls", "--once", cwd=home)
            for at in range(len(HOSTILE)):
                await daemon.good("POST", f"/v1/calls/live{at}/end", {})
            await daemon.until(house.all_recorded)
            cdrs, metrics = await daemon.cdrs(), await house.metrics()
            listed = await callctl("cdr", "list", cwd=home)
            keys = [key.decode("latin-1") for key in client.scan_iter(count=1_000)]
            commands = {
                "asterisk": [(asked["Action"], repr(asked)) for asked in house.asterisk.actions.asked],
                "freeswitch": [(asked.split()[0], asked) for asked in house.freeswitch.commands.done],
                "threecx": [(action, repr((dn, body))) for action, dn, body in house.threecx.api.actions],
                "kamailio": [(asked["do"], repr({**asked, "call": ""})) for asked in house.sbc.asked],
                "proxy": [(method, repr(params)) for method, params in house.management.asked],
            }
            messages = [(topic, payload) for topic, payload, _ in house.subscriber.heard]
    return Aftermath(
        cdrs, text_in(home / "cdr"), text_in(home / "csv"), daemon.log, messages, keys, live.out, listed.out, metrics,
        commands, house.words, house.answers,
    )  # fmt: skip


def text_in(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.iterdir()))
