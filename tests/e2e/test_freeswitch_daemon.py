"""The whole of callctl, as a process on a real Redis, and a simulated FreeSWITCH: whole calls, in real time."""

import socket
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from callctl.simulators.esl import EndedBy, EslSimulator, Script, Setup, SimCall
from callctl.simulators.esl.core import Task
from tests.e2e.provider import Provider
from tests.servers import free_port
from tests.waiting import until

SWITCH = """
[policy]
slice_first_s = 10
lease_grace_s = 5

[[switch]]
name = "fs1"
kind = "freeswitch"
port = {port}
secret = "ClueCon"
"""
SCRIPT = Script(caller="+31201234567", called="0612345678", account="acme", ring_s=0.2)


class Table:
    """A switch, and a daemon that may be killed and started again."""

    def __init__(self, switch: EslSimulator, daemon: Provider) -> None:
        self.switch = switch
        self.daemon = daemon

    async def linked(self) -> None:
        async def ready() -> bool:
            return (await self.daemon.ask("GET", "/readyz"))[0] == 200

        await self.daemon.until(ready)

    async def settled(self, calls: int = 1) -> list[Any]:
        """The CDRs, once there are so many; then the books must be in order."""

        async def all_there() -> bool:
            return len(await self.daemon.cdrs()) >= calls

        await self.daemon.until(all_there)
        cdrs = await self.daemon.cdrs()
        assert len(cdrs) == calls
        account = await self.daemon.account()
        assert (Decimal(account["held"]), account["channels"].get("total", 0)) == (Decimal(0), 0)
        assert Decimal(account["balance"]) >= 0
        return cdrs

    def _ending(self) -> list[Task]:
        """Those of callctl's tasks that end a leg."""
        ours = [task for task in self.switch.core.tasks if task.group.startswith("callctl-")]
        return [task for task in ours if task.command.startswith("uuid_kill ")]

    def _armed(self) -> set[str]:
        return {task.command.split(" ")[1] for task in self._ending()}

    def ends_s(self) -> int:
        """When the first of them is due."""
        return min((task.due_s for task in self._ending()), default=0)

    async def answered(self, script: Script = SCRIPT) -> SimCall:
        """A call that callctl knows to be answered, and has armed on both legs."""
        call = self.switch.place_call(script)
        assert await call.answer(), await call.outcome()
        await until(lambda: self._armed() == {leg.uuid for leg in call.legs})
        return call


@pytest.fixture
async def table(redis_server, tmp_path: Path) -> AsyncIterator[Table]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    async with EslSimulator("ClueCon") as switch:
        more = SWITCH.format(port=switch.port)
        async with Provider(tmp_path, redis_url=redis_server.url, more=more) as daemon:
            table = Table(switch, daemon)
            await table.linked()
            yield table


async def test_a_call_is_charged_by_the_switchs_own_microseconds(table: Table) -> None:
    await table.daemon.furnish()
    call = await table.answered(
        Script(caller="+31201234567", called="0612345678", account="acme", ring_s=1.1, talk_s=1.5)
    )
    outcome = await call.outcome()
    (cdr,) = await table.settled()
    assert (cdr["duration_ms"], cdr["billed_s"]) == (outcome.billed_us // 1000, 2)
    assert (cdr["ring_s"], cdr["released_by"], cdr["charge"], cdr["trunk"]) == (1, "caller", "0.0200", None)
    await until(lambda: not table.switch.core.tasks)


async def test_who_cannot_pay_sees_402(table: Table) -> None:
    await table.daemon.furnish(credit="0")
    outcome = await table.switch.place_call(SCRIPT).outcome()
    assert (outcome.sip, outcome.cause) == (402, "CALL_REJECTED")
    (cdr,) = await table.settled()
    assert (cdr["refusal"], cdr["sip_code"]) == ("no_credit", 402)


async def test_each_refusal_has_its_status(table: Table) -> None:
    await table.daemon.furnish(caps={"outbound": 1})
    talking = await table.answered()
    statuses = {
        "channel_limit": SCRIPT,
        "unknown_account": Script(caller="1", called="0612345678", account="nobody"),
        "no_rate": Script(caller="1", called="+442079460000", account="acme"),
        "invalid_number": Script(caller="1", called="1", account="acme"),
    }
    seen = {}
    for name, script in statuses.items():
        seen[name] = (await table.switch.place_call(script).outcome()).sip
    assert seen == {"channel_limit": 503, "unknown_account": 403, "no_rate": 404, "invalid_number": 484}
    talking.hang_up()
    await talking.outcome()


async def test_a_call_is_extended_and_cut_with_the_last_second(table: Table) -> None:
    """Twelve seconds, of which ten are granted at first: the switch's own timers follow, and both are warned before."""
    await table.daemon.furnish(credit="0.12", warnings={"seconds": [3], "to": "both"})
    call = await table.answered()
    outcome = await call.outcome()
    assert {warning.to for warning in call.warnings} == {EndedBy.CALLER, EndedBy.CALLEE}
    assert 11_900 <= outcome.talked_ms <= 14_000
    (cdr,) = await table.settled()
    assert (cdr["charge"], cdr["billed_s"], cdr["released_by"]) == ("0.1200", 12, "callctl")


async def test_a_caller_that_cancels_is_recorded_and_free(table: Table) -> None:
    await table.daemon.furnish()
    call = table.switch.place_call(
        Script(caller="+31201234567", called="0612345678", account="acme", ring_s=30, cancel_after_s=0.5)
    )
    assert (await call.outcome()).sip == 487
    (cdr,) = await table.settled()
    assert (cdr["charge"], cdr["sip_code"], cdr["released_by"]) == ("0.0000", 487, "caller")


async def test_the_link_is_cut_and_restored_in_a_call(table: Table) -> None:
    await table.daemon.furnish()
    call = await table.answered()
    await table.switch.drop_links()
    await until(lambda: table.switch.logins == 2)
    await table.linked()
    call.hang_up(EndedBy.CALLEE)
    outcome = await call.outcome()
    (cdr,) = await table.settled()
    assert (cdr["duration_ms"], cdr["estimated"], cdr["released_by"]) == (outcome.talked_ms, False, "callee")


async def test_the_switch_is_another_core_with_calls_up(table: Table) -> None:
    await table.daemon.furnish()
    call = await table.answered()
    await table.switch.restart()
    outcome = await call.outcome()
    (cdr,) = await table.settled()
    assert cdr["estimated"] is True
    assert cdr["duration_ms"] <= outcome.talked_ms + 500  # when it was last heard of, not when it was back
    await table.linked()
    again = await table.answered()
    again.hang_up()
    await table.settled(2)


async def test_callctl_is_killed_and_the_switch_ends_the_call(table: Table) -> None:
    await table.daemon.furnish(credit="0.04")
    call = await table.answered()
    await table.daemon.stored(1)
    await table.daemon.kill()
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    assert 4_000 <= outcome.talked_ms <= 7_000
    await table.daemon.start()
    (cdr,) = await table.settled()
    assert cdr["charge"] == "0.0400"


async def test_callctl_is_killed_and_grants_nothing_twice(table: Table) -> None:
    """The next process knows nothing of the switch's clock but what it asks for."""
    await table.daemon.furnish(credit="0.06")
    call = await table.answered()
    answered_us = call.caller.answered_us
    await until(lambda: table.switch.core.now_us() - answered_us > 2_500_000)
    await table.daemon.kill()
    await table.daemon.start()
    outcome = await call.outcome()
    assert outcome.talked_ms < 8_000  # with the switch's own timers, too
    await table.settled()


async def test_callctl_is_killed_and_takes_the_call_over(table: Table) -> None:
    await table.daemon.furnish()
    call = await table.answered()
    first_s = table.ends_s()
    await table.daemon.stored(1)  # and extended: on a busy machine callctl may be away for longer than a first slice
    await until(lambda: table.ends_s() > first_s + 10)
    second_s = table.ends_s()
    await table.daemon.kill()
    await table.daemon.start()
    await table.linked()
    await table.daemon.stored(1)
    await until(lambda: table.ends_s() > second_s + 10)
    call.hang_up()
    outcome = await call.outcome()
    (cdr,) = await table.settled()
    assert (cdr["duration_ms"], cdr["estimated"]) == (outcome.talked_ms, False)


async def test_calls_come_by_the_socket_application(redis_server, tmp_path: Path) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
    port = free_port(socket.SOCK_STREAM)
    async with EslSimulator("ClueCon", setup=Setup(gate=(f"127.0.0.1:{port}",))) as switch:
        more = SWITCH.format(port=switch.port) + f'mode = "outbound"\nlisten_port = {port}\n'
        async with Provider(tmp_path, redis_url=redis_server.url, more=more) as daemon:
            table = Table(switch, daemon)
            await table.linked()
            await daemon.furnish()
            call = await table.answered(
                Script(caller="+31201234567", called="0612345678", account="acme", ring_s=0.2, talk_s=1)
            )
            outcome = await call.outcome()
            (cdr,) = await table.settled()
            assert cdr["duration_ms"] == outcome.talked_ms
            await daemon.kill()
            assert (await switch.place_call(SCRIPT).outcome()).sip == 503
