"""`callctl demo`: a whole callctl at work, on an embedded Redis and a simulated Asterisk. No PBX, no root.

Everything goes through the front door: the definitions and top-ups over HTTP, the calls over the manager interface.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
from pydantic import SecretStr
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from callctl.app import App, running
from callctl.logs import set_up
from callctl.settings import AsteriskSwitch, FileSink, Http, Log, Redis, Settings, Token
from callctl.simulators.ami import AmiSimulator, EndedBy, Script, SimCall, User

DATA = Path(__file__).parents[2] / "config" / "demo"
SWITCH = "pbx1"
RIGHT = ("#", "billed s", "topped up", "charged", "charge", "surcharge", "cost", "balance", "held", "channels")
WIDE_COLUMNS = 110  # a terminal of fewer has no room for the columns that a viewer can do without
OPENING_AND_BOOKS_S = 2
WHOLE_S = 11  # what a scene takes whose length is its point

Answers = tuple[int | None, ...]


class Scene(msgspec.Struct, frozen=True):
    """One call of the show: who dials what `at_s`, and what a viewer should look for."""

    at_s: float
    account: str
    called: str
    about: str
    talk_s: float | None = 3.0
    ring_s: float = 0.6
    answers: Answers = (200,)
    cancel_after_s: float | None = None
    by: EndedBy = EndedBy.CALLER
    top_up: tuple[float, str] | None = None  # so long after dialling, so much


SCENES = (
    Scene(0.0, "bakery", "0612345678", "prepaid, to a mobile: held and rated by the second", 4.8),
    Scene(0.4, "acme", "0201234567", "postpaid, to a landline", 11.8),
    Scene(0.8, "acme", "00442079460018", "abroad: 175 % of the purchase price", 9.8, by=EndedBy.CALLEE),
    Scene(1.2, "acme", "0201234568", "a third call over a cap of two: overflow, at a surcharge", 5.8),
    Scene(1.6, "acme", "0201234569", "a fourth: the overflow is full too"),
    Scene(2.0, "broke", "0612345678", "not a cent left"),
    Scene(2.4, "asleep", "0612345678", "suspended"),
    Scene(2.8, "gone", "0612345678", "expired"),
    Scene(3.2, "stranger", "0612345678", "nobody knows this caller"),
    Scene(3.6, "bakery", "0612", "not a number"),
    Scene(4.0, "careful", "008816123456789", "satellites are barred for this customer"),
    Scene(4.4, "careful", "00442079460018", "sold below cost: the margin rule says no"),
    Scene(4.8, "careful", "005372123456", "dearer than the seller will risk"),
    Scene(5.2, "careful", "004930123456", "no price, no call"),
    Scene(5.6, "busy", "0201234567", "the only channel", 5.8),
    Scene(6.0, "busy", "0201234568", "the channel is taken"),
    Scene(6.4, "dialler", "0201234567", "one attempt a second is agreed", 1.8),
    Scene(6.5, "dialler", "0201234568", "and this is the second"),
    Scene(7.0, "shop", "0612345678", "a customer of a reseller: both are charged", 5.8),
    Scene(7.4, "tenant", "0612345678", "its reseller has no money: only we are told why"),
    Scene(7.8, "broke", "112", "emergency: always passes", 3.8),
    Scene(8.2, "bakery", "0201230001", "to another customer: on-net, free", 3.8),
    Scene(8.6, "lastcoin", "0612345678", "eight seconds of credit: warned at four, cut off at eight", None),
    Scene(9.0, "topper", "0612345678", "six seconds of credit, topped up in mid-call", 9.8, top_up=(4.5, "0.05")),
    Scene(9.4, "bakery", "0201234567", "the callee is busy", answers=(486,)),
    Scene(9.8, "bakery", "0201234567", "the caller gives up while it rings", ring_s=9.0, cancel_after_s=2.0),
)


def _fitted(scene: Scene, seconds: int | None) -> Scene | None:
    """The scene as it ends within a show of so many seconds: with a shorter talk, or not at all."""
    if seconds is None:
        return scene
    left_s = seconds - OPENING_AND_BOOKS_S - scene.at_s
    if scene.talk_s is None or scene.top_up is not None or scene.cancel_after_s is not None:
        return scene if left_s >= WHOLE_S else None
    talk_s = min(scene.talk_s, left_s - scene.ring_s)
    return msgspec.structs.replace(scene, talk_s=talk_s) if talk_s > 0 else None


async def demo(seconds: int | None, port: int, console: Console) -> int:
    """Play the show. Without `seconds` callctl stays up afterwards, until interrupted. Exit code 1: books differ."""
    set_up(level="error")
    playing = cast("asyncio.Task[int]", asyncio.current_task())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    with tempfile.TemporaryDirectory(prefix="callctl-demo-") as scratch:
        token, secret = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        async with AmiSimulator({"ccgate": User(secret, filtered=True)}) as asterisk:
            settings = Settings(
                redis=Redis(data_dir=Path(scratch)),
                http=Http(
                    port=port, token=(Token(name="demo", token=SecretStr(token), scopes=("call", "read", "admin")),)
                ),
                switch=(AsteriskSwitch(name=SWITCH, kind="asterisk", port=asterisk.port, secret=SecretStr(secret)),),
                sink=(FileSink(name="billing", kind="file", directory=Path(scratch) / "cdr"),),
                log=Log(level="error"),
            )
            async with running(settings) as app, _front_door(app, token) as http:
                show = Show(http, asterisk, console)
                await show.prepare()
                await show.play(seconds)
                sound = await show.reconcile()
                if seconds is None:
                    console.print(f"\ncallctl stays up at {http.url}, token {token}. Ctrl-C ends it.")
                    with contextlib.suppress(asyncio.CancelledError):  # the end that was announced
                        await asyncio.Event().wait()
                return 0 if sound else 1


class FrontDoor:
    """The HTTP API as a customer of it uses it: JSON in and out; an error answer is raised."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"})

    async def __aenter__(self) -> "FrontDoor":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None, missing: Any = None) -> Any:
        csv = isinstance(body, str)
        headers = {"Content-Type": "text/csv"} if csv else {}
        data = {"data": body} if csv else {"json": body} if body is not None else {}
        async with self._session.request(method, path, headers=headers, **data) as answer:
            said = await answer.json()
            if answer.status == 404 and missing is not None:
                return missing
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {said}")
            return said


def _front_door(app: App, token: str) -> FrontDoor:
    return FrontDoor(f"http://127.0.0.1:{app.port}", token)


class Show:
    """The scenes, played and told."""

    def __init__(self, http: FrontDoor, asterisk: AmiSimulator, console: Console) -> None:
        self._http = http
        self._asterisk = asterisk
        self._console = console
        self._accounts: dict[str, Any] = json.loads((DATA / "accounts.json").read_text())
        self._placed: list[SimCall] = []
        self._begun = 0.0

    async def prepare(self) -> None:
        """Plans, decks, accounts, trunks and their first money, as an operator would put them."""
        plans = json.loads((DATA / "plans.json").read_text())
        for plan, body in plans.items():
            await self._http.ask("PUT", f"/v1/plans/{plan}", body)
            await self._http.ask("PUT", f"/v1/plans/{plan}/rows", (DATA / "plans" / f"{plan}.csv").read_text())
        for account in sorted(self._accounts, key=lambda id: "parent" in self._accounts[id]["account"]):
            wanted = self._accounts[account]
            at_home = {"dial_rules": {"country": "NL"}, "timezone": "Europe/Amsterdam"}
            await self._http.ask("PUT", f"/v1/accounts/{account}", at_home | wanted["account"])
            await self._http.ask("PUT", f"/v1/trunks/{account}", {"account": account} | wanted.get("trunk", {}))
            if "credit" in wanted:
                await self._top_up(account, "first", wanted["credit"])
        await _until(self._ready)
        self._console.print(
            f"[bold]callctl[/] is up: {len(plans)} plans, {len(self._accounts)} accounts, a Redis of its own, and "
            f"an Asterisk (simulated) on port {self._asterisk.port}.\n"
        )

    async def _ready(self) -> bool:
        state = await self._http.ask("GET", "/readyz")
        return bool(state.get("ready"))

    async def play(self, seconds: int | None) -> None:
        """All scenes at their times; `seconds` bounds the whole."""
        self._begun = asyncio.get_running_loop().time()
        scenes = [fitted for scene in SCENES if (fitted := _fitted(scene, seconds)) is not None]
        if len(scenes) < len(SCENES):
            self._console.print(f"In {seconds} s there is time for {len(scenes)} of the {len(SCENES)} calls.\n")
        async with asyncio.TaskGroup() as group:
            for scene in scenes:
                group.create_task(self._scene(scene))

    async def _scene(self, scene: Scene) -> None:
        await asyncio.sleep(scene.at_s)
        call = self._asterisk.place_call(
            Script(
                caller="+31201230099",
                called=scene.called,
                account=scene.account,
                endpoint=scene.account,
                ring_s=scene.ring_s,
                talk_s=scene.talk_s,
                answers=scene.answers,
                cancel_after_s=scene.cancel_after_s,
                hung_up_by=scene.by,
            )
        )
        self._placed.append(call)
        self._tell(scene, "dim", f"dials {scene.called}: {scene.about}")
        if await self._refused(scene, call):
            return
        if scene.top_up is not None:
            after_s, amount = scene.top_up
            await asyncio.sleep(after_s)
            await self._top_up(scene.account, "again", amount)
            self._tell(scene, "cyan", f"topped up with {amount} EUR while talking")
        outcome = await call.outcome()
        warned = len(call.warnings)
        heard = "" if not warned else ", warned once" if warned == 1 else f", warned {warned} times"
        if outcome.answered_us is None:
            self._tell(scene, "yellow", f"not answered: SIP {outcome.sip}")
        else:
            cut = outcome.ended_by in (EndedBy.CONTROLLER, EndedBy.LIMIT)
            by = "callctl: the credit is used up" if cut else outcome.ended_by
            self._tell(scene, "green", f"talked {outcome.talked_ms / 1000:.1f} s{heard}; ended by {by}")

    async def _refused(self, scene: Scene, call: SimCall) -> bool:
        """Tell the verdict as soon as it is there."""
        path = f"/v1/calls/{call.uniqueid}?switch={SWITCH}"
        said: dict[str, Any] = {}

        async def decided() -> bool:
            nonlocal said
            said = await self._http.ask("GET", path, missing={"state": "taking"})
            return bool(said["state"] != "taking")

        await _until(decided)
        if said["verdict"] == "refused":
            outcome = await call.outcome()
            words = f"refused with SIP {outcome.sip}: {said['refusal']} ({said['detail'] or 'no detail'})"
            self._tell(scene, "red", words)
            return True
        rate = f"at {said['rate']['per_minute']}/min" if said["rate"] else "without a price"
        held = f"{said['hold']} EUR held" if Decimal(said["hold"]) else "nothing to hold"
        self._tell(scene, "green", f"allowed: {held} for {said['granted_seconds']} s, {rate}")
        return False

    def _tell(self, scene: Scene, style: str, words: str) -> None:
        at_s = asyncio.get_running_loop().time() - self._begun
        line = Table.grid(padding=(0, 2))  # words that need a second line stay in their column
        line.add_row(Text(f"{at_s:5.1f}", "dim"), Text(f"{scene.account:<8}", "bold"), Text(words, style))
        self._console.print(line)

    async def _top_up(self, account: str, id: str, amount: str) -> None:
        await self._http.ask("POST", f"/v1/accounts/{account}/topups", {"id": f"demo-{id}", "amount": amount})

    # ---- the books

    async def reconcile(self) -> bool:
        """Show the records, and whether every balance is what its top-ups less its charges make."""
        await _until(self._settled)
        records = (await self._http.ask("GET", "/v1/cdrs?limit=1000"))["cdrs"]
        self._console.print()
        self._console.print(_records_table(records, wide=self._console.width >= WIDE_COLUMNS))
        balances = _table("Balances", ("account", "topped up", "charged", "balance", "held", "channels", ""))
        sound = True
        for account in self._accounts:
            now = await self._http.ask("GET", f"/v1/accounts/{account}")
            ledger = (await self._http.ask("GET", f"/v1/accounts/{account}/ledger"))["entries"]
            paid_in = sum((Decimal(e["amount"]) for e in ledger if e["kind"] == "topup"), Decimal(0))
            charged = sum((Decimal(r["gross"]) for r in records if r["account"] == account), Decimal(0))
            free = Decimal(now["held"]) == 0 and not any(now["channels"].values())
            agrees = Decimal(now["balance"]) == paid_in - charged and free
            sound = sound and agrees
            used = str(sum(now["channels"].values()))
            row = (f"{paid_in:.4f}", f"{charged:.4f}", now["balance"], now["held"], used)
            balances.add_row(account, *row, "[green]agrees[/]" if agrees else "[red]differs[/]")
        self._console.print()
        self._console.print(balances)
        books = (
            "Each balance is its top-ups less its charges; nothing is held." if sound else "[red]The books differ.[/]"
        )
        self._console.print(f"\n{books}")
        return sound

    async def _settled(self) -> bool:
        live = (await self._http.ask("GET", "/v1/calls"))["calls"]
        written = (await self._http.ask("GET", "/v1/cdrs?limit=1000"))["cdrs"]
        return not live and {r["call_id"] for r in written} >= {call.uniqueid for call in self._placed}


async def _until(reached: Callable[[], Awaitable[bool]], seconds: int = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await reached():  # noqa: ASYNC110  anything may be waited for
            await asyncio.sleep(0.05)


def _records_table(records: Iterable[dict[str, Any]], *, wide: bool) -> Table:
    left_out = () if wide else ("destination", "cost")
    headings = ("#", "account", "to", "destination", "outcome", "billed s", "charge", "surcharge", "cost")
    shown = [heading for heading in headings if heading not in left_out]
    table = _table("Call detail records: one per payer and call, refused ones too", shown)
    for record in records:
        told = record | {"#": record["sequence"], "outcome": _outcome(record), "billed s": record["billed_s"]}
        table.add_row(*(str(told[heading] or "") for heading in shown))
    return table


def _outcome(record: dict[str, Any]) -> str:
    if record["refusal"]:
        return f"[red]{record['refusal']}[/]"
    if not record["answer_time"]:
        return "[yellow]not answered[/]"
    return f"ended by {record['released_by']}"


def _table(title: str, headings: Iterable[str]) -> Table:
    made = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in headings:
        made.add_column(heading, justify="right" if heading in RIGHT else "left")
    return made
