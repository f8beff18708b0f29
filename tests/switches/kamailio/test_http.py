"""The decision API asked by the real Kamailio: docker/kamailio/kamailio-http.cfg and the whole of callctl."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from signal import SIGCONT
from typing import Any

import pytest

from tests.e2e.daemon import TOKEN
from tests.e2e.provider import Provider
from tests.servers import hang
from tests.switches.exactness import ALONE_MS, APART_MS, in_time
from tests.switches.kamailio.desk import NUMBER
from tests.switches.rig.asterisk import ACME, CARRIER_A, CARRIER_B
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.call import Call
from tests.switches.sip.phone import Phone
from tests.switches.sip.sipp import Outcome, call_many, carrier
from tests.waiting import until


class Floor:
    """The daemon, a Kamailio that asks it, a customer's phone and a carrier's."""

    def __init__(self, daemon: Provider, rig: KamailioRig, acme: Phone, carrier: Phone) -> None:
        self.daemon = daemon
        self.rig = rig
        self.acme = acme
        self.carrier = carrier

    async def furnish(self, credit: str = "10.00", **account: Any) -> None:
        await self.daemon.furnish(credit, source_ips=[ACME], **account)

    async def recorded(self, calls: int = 1) -> list[Any]:
        """The CDRs, once there are so many; then nothing is held."""

        async def all_there() -> bool:
            return len(await self.daemon.cdrs()) >= calls

        await self.daemon.until(all_there)
        cdrs, account = await self.daemon.cdrs(), await self.daemon.account()
        assert len(cdrs) == calls
        assert Decimal(account["held"]) == 0
        return cdrs


@asynccontextmanager
async def asking(home: Path, daemon: Provider, more: str = "") -> AsyncIterator[Floor]:
    api = f'#!define API "http://127.0.0.1:{daemon.port}"\n#!define API_TOKEN "{TOKEN}"\n'
    rig = KamailioRig(home / "kamailio", config="kamailio-http.cfg", more=api + more)
    rig.start()
    try:
        async with (
            Phone(ACME, rig.sip_address, port=rig.peer_port, tone_hz=None) as acme,
            Phone(CARRIER_A, rig.sip_address, port=rig.peer_port, tone_hz=None) as carrier,
        ):
            carrier.answer_calls()
            yield Floor(daemon, rig, acme, carrier)
    finally:
        rig.stop()


@pytest.fixture
async def floor(tmp_path: Path) -> AsyncIterator[Floor]:
    async with Provider(tmp_path) as daemon, asking(tmp_path, daemon) as floor:
        yield floor


async def test_a_call_and_its_record(floor: Floor) -> None:
    await floor.furnish()
    call = await floor.acme.call("0612345678")
    await call.until_answered()
    outgoing = await floor.carrier.next_call()
    assert outgoing.number == NUMBER
    await outgoing.hang_up()
    (cdr,) = await floor.recorded()
    assert cdr["call_id"].startswith(f"{call.call_id};")
    assert (cdr["switch"], cdr["released_by"], cdr["to"]) == ("sbc-http", "callee", NUMBER)
    assert cdr["charge"] == f"{cdr['billed_s'] / 100:.4f}"


REFUSALS: list[tuple[dict[str, Any], str, int, str]] = [
    ({}, "+442079460000", 404, "no_rate"),
    ({}, "99", 484, "invalid_number"),
    ({"caps": {"outbound": 0}}, NUMBER, 503, "channel_limit"),
    ({"status": "suspended"}, NUMBER, 403, "account_suspended"),
    ({}, NUMBER, 402, "no_credit"),
]


async def test_each_refusal_has_its_status(floor: Floor) -> None:
    for account, number, status, _ in REFUSALS:
        await floor.furnish("0", **account)
        call = await floor.acme.call(number)
        await call.until_ended()
        assert call.status == status
        assert call.reason.startswith("Q.850;cause=")
    cdrs = await floor.recorded(len(REFUSALS))
    assert [(cdr["sip_code"], cdr["refusal"]) for cdr in cdrs] == [refused[2:] for refused in REFUSALS]
    assert floor.carrier.calls == []


async def test_the_end_of_the_grant_is_kamailios(floor: Floor) -> None:
    await floor.furnish("0.02")
    call = await floor.acme.call(NUMBER)
    await call.until_answered()
    outgoing = await floor.carrier.next_call()
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 2, ALONE_MS)
    (cdr,) = await floor.recorded()
    assert (cdr["charge"], cdr["released_by"]) == ("0.0200", "callctl")
    assert Decimal((await floor.daemon.account())["balance"]) == 0


async def test_a_call_that_nobody_answered_costs_nothing(floor: Floor) -> None:
    await floor.furnish()
    floor.carrier.refuse_calls(486)
    call = await floor.acme.call(NUMBER)
    await call.until_ended()
    (cdr,) = await floor.recorded()
    assert (call.status, cdr["sip_code"], cdr["charge"], cdr["answer_time"]) == (486, 486, "0.0000", None)


async def test_a_caller_who_gives_up_holds_nothing(floor: Floor) -> None:
    await floor.furnish()
    floor.carrier.answer_calls(after_s=60)
    call = await floor.acme.call(NUMBER)
    await until(lambda: 180 in call.provisional)
    await call.hang_up()
    (cdr,) = await floor.recorded()
    assert (call.status, cdr["charge"]) == (487, "0.0000")


def is_asked(port: int) -> bool:
    """Whether something was sent to the server at `port` that it has not read yet."""
    sockets = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return any(
        here.endswith(f":{port:04X}") and not queues.endswith(":00000000") for _, here, _, _, queues, *_ in sockets
    )


async def test_a_caller_who_gives_up_while_callctl_thinks_holds_nothing(floor: Floor) -> None:
    await floor.furnish()
    process = floor.daemon.process
    assert process is not None
    hang(process.pid)
    try:
        call = await floor.acme.call(NUMBER)
        await until(lambda: is_asked(floor.daemon.port))
        giving_up = asyncio.create_task(call.hang_up())
        await asyncio.sleep(0)  # the CANCEL is sent
    finally:
        process.send_signal(SIGCONT)
    await giving_up
    assert call.status == 487
    (cdr,) = await floor.recorded()
    assert cdr["charge"] == "0.0000"


async def test_while_callctl_hangs_emergency_calls_do_not_wait_behind_the_others(floor: Floor) -> None:
    await floor.furnish()
    process = floor.daemon.process
    assert process is not None
    hang(process.pid)
    try:
        for _ in range(150):  # for each of which a worker would wait two seconds
            await floor.acme.call(NUMBER)
        emergencies: list[Call] = []
        async with asyncio.timeout(15):
            while not any(call.answered_at for call in emergencies):
                # The INVITEs before it may have filled the socket's buffer: who is not heard dials again, as people do.
                emergencies.append(await floor.acme.call("112"))
                await asyncio.sleep(0.5)  # how often they do: many at once would fill the buffer themselves
    finally:
        process.send_signal(SIGCONT)


async def test_what_is_told_late_says_when_it_was(floor: Floor) -> None:
    await floor.furnish()
    call = await floor.acme.call(NUMBER)
    await call.until_answered()
    await floor.daemon.stored(1)
    await floor.daemon.kill()
    await call.hang_up()
    await until(lambda: floor.rig.log.read_text().count("failed to connect") >= 15)  # five times a second
    await floor.daemon.start()
    (cdr,) = await floor.recorded()
    assert abs(cdr["duration_ms"] - call.talked_s * 1_000) <= APART_MS
    assert (cdr["released_by"], cdr["estimated"]) == ("caller", False)


async def test_without_callctl_emergency_calls_pass_and_no_others(floor: Floor) -> None:
    await floor.daemon.kill()
    call = await floor.acme.call(NUMBER)
    await call.until_ended()
    assert (call.status, call.reason) == (503, 'Q.850;cause=41;text="call control is away"')
    emergency = await floor.acme.call("112")
    await emergency.until_answered()
    await emergency.hang_up()
    await floor.daemon.start()


async def test_a_caller_cannot_write_into_the_question(floor: Floor) -> None:
    await floor.furnish()
    name = '"x\\",\\"account\\":\\"acme" <sip:+31201234567@127.0.0.11>'
    call = await floor.acme.call(NUMBER, name, call_id='a/b?c=d&e%2F"f{g}@x')
    await call.until_answered()
    await call.hang_up()
    (cdr,) = await floor.recorded()
    assert (cdr["from"], cdr["call_id"].partition(";")[0]) == ("+31201234567", call.call_id)


async def test_a_bye_led_astray_ends_the_call_on_the_other_side(floor: Floor) -> None:
    await floor.furnish()
    for calls, by in enumerate(("caller", "callee"), 1):
        call = await floor.acme.call(NUMBER)
        await call.until_answered()
        outgoing = await floor.carrier.next_call()
        from_, to = (call, outgoing) if by == "caller" else (outgoing, call)
        from_.forge("BYE", target=f"sip:me@{from_.phone.address}:{from_.phone.port}")
        await to.until_ended()
        assert (await floor.recorded(calls))[-1]["released_by"] == by


async def test_a_request_within_no_call_reaches_nobody(floor: Floor) -> None:
    await floor.furnish()
    call = await floor.acme.call(NUMBER)
    await call.until_answered()
    call.forge("INVITE", tag="forged", target=f"sip:{NUMBER}@{floor.carrier.address}:{floor.carrier.port}")
    await until(lambda: call.answers_to("INVITE")[1:] == [481])
    assert len(floor.carrier.calls) == 1
    await call.hang_up()


async def test_whoever_calls_is_asked_about(floor: Floor) -> None:
    await floor.furnish()
    callers = {
        "<sip:127.0.0.11>": "",
        f"<sip:{'1' * 900}@127.0.0.11>": "1" * 32,
        "<sip:%2B31201234567;x=y@a>": "+31201234567",
    }
    for calls, (caller, shown) in enumerate(callers.items(), 1):
        call = await floor.acme.call(NUMBER, caller, call_id=f"{calls:x>255}")
        await call.until_answered()
        await call.hang_up()
        assert (await floor.recorded(calls))[-1]["from"] == shown


async def test_many_calls_are_charged_once_each(floor: Floor) -> None:
    await floor.furnish("10000.00")
    calls = 100
    async with carrier(floor.rig, address=CARRIER_B, ring_s=0.05):
        floor.carrier.refuse_calls(503)
        outcome = await call_many(floor.rig, ACME, NUMBER, calls=calls, per_second=50, talk_s=1)
    assert outcome == Outcome(calls=calls, ended_by_caller=calls, ended_by_switch=0)
    cdrs = await floor.recorded(calls)
    assert {(cdr["verdict"], cdr["estimated"]) for cdr in cdrs} == {("allowed", False)}
