"""The whole daemon on a real Redis, asked by a proxy's call_control module and by a RADIUS gateway."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from callctl.accounts import Account, Kind
from callctl.app import App, running
from callctl.call.events import CallKey, HangUpAsked
from callctl.call.session import State
from callctl.call.takes import TopUp
from callctl.numbering import DialRules
from callctl.ports import ARCHIVE
from callctl.rating.tariff import Plan, Row
from callctl.settings import load
from callctl.store.address import parse_address
from callctl.store.link import Link
from tests.contract.nas import ACCEPT, INTERIM, REJECT, START, STOP, Nas
from tests.contract.proxy import Worker, init, management, start, stop
from tests.radius_packets import SECRET, number
from tests.servers import free_port
from tests.waiting import PATIENCE_S, until

SOURCE = "192.0.2.10"
LONGEST_S = 2
PER_SECOND = 1_000  # micro-units: 0.06 a minute


class House:
    """A running callctl with the account acme, which pays 0.001 a second."""

    def __init__(self, app: App, nas: Nas, path: Path) -> None:
        self.app = app
        self.nas = nas
        self.path = path
        self._paid = 0

    async def furnish(self, seconds: int) -> None:
        definitions = self.app.definitions
        await definitions.put_plan(Plan("plan"))
        await definitions.put_rows("plan", [Row(prefix="", per_minute=6_000_000)])
        rules = DialRules(country="NL")
        await definitions.put_account(
            Account("acme", Kind.PREPAID, plan="plan", dial_rules=rules, source_ips=(SOURCE,))
        )
        await self.pay(seconds)

    async def pay(self, seconds: int) -> None:
        self._paid += 1
        amount = seconds * PER_SECOND
        now = self.app.clock.now()
        await self.app.store.top_up(TopUp("acme", "acme", f"pay-{self._paid}", amount, now.wall_ms))

    async def talks(self, call_id: str) -> None:
        """Return when the call of the proxy has been up for a moment that can be measured."""
        answered = (await self.app.calls.find(CallKey("sbc", call_id))).answered
        assert answered is not None
        await until(lambda: self.app.clock.now().since_ms(answered) > 0)

    async def cdrs(self) -> list[dict[str, Any]]:
        page = await self.app.feeds.page(ARCHIVE, None, 0, None, 1_000)
        return [msgspec.json.decode(record.payload) for record in page.records]

    async def recorded(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_S):
            while len(cdrs := await self.cdrs()) < count or self.app.calls.live():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert len(cdrs) == count, cdrs
        return cdrs

    async def squares(self, paid_s: int) -> None:
        """The balance is what was paid less what was charged; nothing is held or in use."""
        spent = sum(int(Decimal(cdr["charge"]) * 1_000_000) for cdr in await self.cdrs())
        (balance,) = await self.app.store.balances("acme", ["acme"])
        assert (balance.balance, balance.held, balance.slots) == (paid_s * PER_SECOND - spent, 0, {})
        assert balance.balance >= 0


@pytest.fixture
async def house(redis_server, tmp_path: Path) -> AsyncIterator[House]:
    store = Link(parse_address(redis_server.url))
    await store.open()
    await store.call("FLUSHALL")
    await store.close()
    path, rpc = tmp_path / "cc.sock", tmp_path / "rpc.sock"
    auth, acct = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    secret = tmp_path / "nas.secret"
    secret.write_bytes(SECRET + b"\n")
    async with Nas(auth, acct) as nas:
        file = tmp_path / "callctl.toml"
        file.write_text(f"""
[redis]
url = "{redis_server.url}"
data_dir = "{tmp_path}"
[http]
port = 0
[policy]
longest_unattended_s = {LONGEST_S}
lease_grace_s = 2
[[switch]]
name = "sbc"
kind = "call_control"
path = "{path}"
management = "{rpc}"
[[switch]]
name = "gw"
kind = "radius"
auth_port = {auth}
acct_port = {acct}
interim_s = 5
[[switch.client]]
address = "127.0.0.1"
secret_file = "{secret}"
disconnect_port = {nas.disconnect_port}
""")
        async with running(load(file, {})) as app, management(rpc):
            await until(lambda: all(switch.state().up for switch in app.switches.values()))
            yield House(app, nas, path)


# ---- call_control


async def test_a_call_of_a_proxy_from_its_beginning_to_its_end(house: House) -> None:
    await house.furnish(seconds=10)
    async with Worker(house.path) as worker:
        assert await worker.ask(init("c1", ip=SOURCE)) == "Limited"
        for _ in range(2):
            assert await worker.ask(start("c1")) == "Ok"
        await house.talks("c1")
        assert await worker.ask(stop("c1")) == "Ok"
        assert await worker.ask(stop("c1")) == "Not found"
    (cdr,) = await house.recorded(1)
    assert (cdr["switch"], cdr["call_id"], cdr["billed_s"], cdr["estimated"]) == ("sbc", "c1", 1, False)
    await house.squares(10)


async def test_a_call_of_a_proxy_that_nobody_answers_costs_nothing(house: House) -> None:
    await house.furnish(seconds=10)
    async with Worker(house.path) as worker:
        await worker.ask(init("c1", ip=SOURCE))
        await worker.ask(stop("c1"))
    (cdr,) = await house.recorded(1)
    assert (cdr["charge"], cdr["duration_s"]) == ("0.0000", 0)
    await house.squares(10)


async def test_refusals_of_a_proxys_calls(house: House) -> None:
    await house.furnish(seconds=0)
    async with Worker(house.path) as worker:
        assert await worker.ask(init("c1", ip=SOURCE)) == "No credit"
        assert await worker.ask(init("c2", ip="192.0.2.99")) == "Locked"
        await house.pay(10)
        assert await worker.ask(init("c1", ip=SOURCE)) == "Limited"
        assert await worker.ask(stop("c1")) == "Ok"


async def test_an_emergency_call_of_a_proxy_passes_without_credit(house: House) -> None:
    await house.furnish(seconds=0)
    async with Worker(house.path) as worker:
        assert await worker.ask(init("c1", to="112", ip=SOURCE)) == "Limited"
        await worker.ask(start("c1"))
        await worker.ask(stop("c1"))
    (cdr,) = await house.recorded(1)
    assert (cdr["to"], cdr["charge"]) == ("112", "0.0000")


async def test_fifty_at_once_on_a_balance_for_eight(house: House) -> None:
    """Each on a worker of its own, over both protocols."""
    await house.furnish(seconds=8 * LONGEST_S)

    async def by_proxy(call_id: str) -> str:
        async with Worker(house.path) as worker:
            return await worker.ask(init(call_id, ip=SOURCE))

    async def by_gateway(session: str) -> str:
        async with Nas(house.nas.auth_port, house.nas.acct_port) as nas:
            code, attributes = await nas.ask(session)
            assert code == REJECT or (27, number(LONGEST_S)) in attributes
            return "Limited" if code == ACCEPT else "No credit"

    asked = [by_proxy(f"c{n}") for n in range(25)] + [by_gateway(f"s{n}") for n in range(25)]
    assert Counter(await asyncio.gather(*asked)) == {"Limited": 8, "No credit": 42}
    (balance,) = await house.app.store.balances("acme", ["acme"])
    assert (balance.balance, balance.held) == (8 * LONGEST_S * PER_SECOND, 8 * LONGEST_S * PER_SECOND)


# ---- RADIUS


async def test_a_call_of_a_gateway_with_every_report_twice(house: House) -> None:
    await house.furnish(seconds=10)
    code, attributes = await house.nas.ask("s1")
    assert (code, (27, number(LONGEST_S)) in attributes) == (ACCEPT, True)
    for status, talked_s in ((START, None), (INTERIM, 1), (STOP, 2)):
        await house.nas.tell(status, "s1", talked_s)
        await house.nas.tell(status, "s1", talked_s)
    (cdr,) = await house.recorded(1)
    assert (cdr["call_id"], cdr["duration_ms"], cdr["charge"]) == ("s1@127.0.0.1", 2_000, "0.0020")
    await house.squares(10)


async def test_a_start_that_was_lost(house: House) -> None:
    await house.furnish(seconds=10)
    await house.nas.ask("s1")
    await house.nas.tell(STOP, "s1", 2)
    (cdr,) = await house.recorded(1)
    assert (cdr["duration_ms"], cdr["charge"]) == (2_000, "0.0020")
    await house.squares(10)


async def test_more_than_was_granted_is_not_charged_to_a_prepaid_payer(house: House) -> None:
    await house.furnish(seconds=10)
    await house.nas.ask("s1")
    await house.nas.tell(STOP, "s1", 7)
    (cdr,) = await house.recorded(1)
    assert (cdr["duration_s"], cdr["billed_s"], cdr["unbilled_s"]) == (7, LONGEST_S, 5)
    await house.squares(10)


async def test_an_end_that_never_comes_is_estimated_and_a_late_one_corrects_it(house: House) -> None:
    """At its grant's end a Disconnect-Request is sent, which this NAS obeys in silence."""
    await house.furnish(seconds=10)
    await house.nas.ask("s1")
    await house.nas.tell(START, "s1")
    await until(lambda: house.nas.disconnects)
    (estimate,) = await house.recorded(1)
    assert (estimate["estimated"], estimate["charge"]) == (True, "0.0020")
    await house.nas.tell(STOP, "s1", 1)
    _, correction = await house.recorded(2)
    assert (correction["corrects"], correction["charge"]) == (estimate["id"], "-0.0010")
    await house.nas.tell(STOP, "s1", 1)
    await house.squares(10)


async def test_an_operator_ends_a_call_of_a_gateway(house: House) -> None:
    await house.furnish(seconds=10)
    await house.nas.ask("s1")
    await house.nas.tell(START, "s1")
    call = CallKey("gw", "s1@127.0.0.1")
    await until(lambda: [session.state for session in house.app.calls.live()] == [State.ANSWERED])
    await house.app.calls.report(HangUpAsked(call))
    await until(lambda: house.nas.disconnects)
    await house.nas.tell(STOP, "s1", 1)
    (cdr,) = await house.recorded(1)
    assert (cdr["released_by"], cdr["charge"]) == ("callctl", "0.0010")


async def test_an_emergency_call_of_a_gateway_passes_without_credit(house: House) -> None:
    await house.furnish(seconds=0)
    assert (await house.nas.ask("s1", to="112"))[0] == ACCEPT
    assert (await house.nas.ask("s2"))[0] == REJECT
