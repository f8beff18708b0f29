"""The whole of callctl, as a process with its embedded Redis, on a real Asterisk: killed in the middle of calls."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.provider import Provider
from tests.switches.exactness import APART_MS, in_time
from tests.switches.linked import NUMBER, gone, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone

FIRST_S = 15  # long enough for callctl to be killed and started on a busy machine
SWITCH = """
[policy]
slice_first_s = {first_s}
lease_grace_s = 5

[[switch]]
name = "pbx1"
kind = "asterisk"
host = "{host}"
port = {port}
username = "{user}"
secret = "{secret}"
"""


@pytest.fixture
async def daemon(asterisk: AsteriskRig, tmp_path: Path) -> AsyncIterator[Provider]:
    access = {"user": asterisk.ami_user, "secret": asterisk.ami_secret}
    config = SWITCH.format(first_s=FIRST_S, host=asterisk.host, port=asterisk.ami_port, **access)
    async with Provider(tmp_path, more=config) as daemon:
        await linked(daemon)
        yield daemon
    await gone(asterisk)


async def linked(daemon: Provider) -> None:
    async def ready() -> bool:
        status, _ = await daemon.ask("GET", "/readyz")
        return status == 200

    await daemon.until(ready)


async def settled(daemon: Provider, calls: int = 1) -> list[Any]:
    """The CDRs, once there are so many; then the books must be in order."""

    async def all_there() -> bool:
        return len(await daemon.cdrs()) >= calls

    await daemon.until(all_there)
    cdrs = await daemon.cdrs()
    assert len(cdrs) == calls
    account = await daemon.account()
    assert (Decimal(account["held"]), account["channels"].get("total", 0)) == (Decimal(0), 0)
    return cdrs


async def balance(daemon: Provider) -> Decimal:
    return Decimal((await daemon.account())["balance"])


async def test_a_call_and_its_record(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish()
    call, outgoing = await talking(acme, carrier)
    (live,) = await daemon.stored(1)
    assert outgoing.number == NUMBER
    await call.hang_up()
    (cdr,) = await settled(daemon)
    assert (cdr["call_id"], cdr["switch"], cdr["released_by"]) == (live["call_id"], "pbx1", "caller")
    assert cdr["charge"] == f"{cdr['billed_s'] / 100:.4f}"


async def test_no_credit_over_the_wire(daemon: Provider, acme: Phone) -> None:
    await daemon.furnish("0")
    call = await acme.call(NUMBER)
    await call.until_ended()
    assert call.status == 402
    (cdr,) = await settled(daemon)
    assert cdr["refusal"] == "no_credit"


async def test_a_top_up_over_the_api_lengthens_the_call(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish("0.03")
    call, _ = await talking(acme, carrier)
    await daemon.good("POST", "/v1/accounts/acme/topups", {"id": "more", "amount": "0.02"})
    await call.until_ended()
    (cdr,) = await settled(daemon)
    assert cdr["charge"] == "0.0500"
    assert in_time(call.talked_s * 1_000, 5)
    assert await balance(daemon) == 0


async def test_an_operator_hangs_up(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish()
    call, outgoing = await talking(acme, carrier)
    (live,) = await daemon.stored(1)
    await daemon.good("DELETE", f"/v1/calls/{live['call_id']}?switch=pbx1")
    await call.until_ended()
    await outgoing.until_ended()
    (cdr,) = await settled(daemon)
    assert cdr["released_by"] == "callctl"


async def test_killed_it_leaves_the_limit_to_the_switch(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish("0.03")
    call, outgoing = await talking(acme, carrier)
    await daemon.stored(1)
    await daemon.kill()
    await call.until_ended()
    await outgoing.until_ended()
    assert in_time(call.talked_s * 1_000, 3)
    for _ in range(2):  # settled by the first start, and not again by the second
        await daemon.start()
        await linked(daemon)
        (cdr,) = await settled(daemon)
        assert (cdr["charge"], await balance(daemon)) == ("0.0300", Decimal(0))
        await daemon.kill()


async def test_killed_and_started_it_goes_on_with_the_calls(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish()
    calls = [await talking(acme, carrier, f"+3161234567{n}") for n in range(3)]
    await daemon.talking(3)
    await daemon.kill()
    await daemon.start()
    await linked(daemon)
    for call, _ in calls:
        beyond = (call.answered_at or 0) + FIRST_S + 1
        await call.ear.until_heard(lambda heard: heard.tones == (600,), since=beyond)
        await call.hang_up()
    cdrs = await settled(daemon, 3)
    assert {cdr["estimated"] for cdr in cdrs} == {False}
    talked_ms = sorted(call.talked_s * 1000 for call, _ in calls)
    found_ms = sorted(cdr["duration_ms"] for cdr in cdrs)
    assert all(abs(talked - found) <= APART_MS for talked, found in zip(talked_ms, found_ms, strict=True))


@pytest.mark.usefixtures("agi_gate")
async def test_killed_and_started_it_answers_again_at_the_asyncagi_gate(
    daemon: Provider, acme: Phone, carrier: Phone
) -> None:
    await daemon.furnish()
    talk, _ = await talking(acme, carrier)
    await daemon.stored(1)
    await daemon.kill()
    meanwhile = await acme.call(NUMBER)
    await meanwhile.until_ended()
    assert meanwhile.status == 503
    await daemon.start()
    await linked(daemon)
    again, _ = await talking(acme, carrier)
    await again.hang_up()
    await talk.hang_up()
    cdrs = await settled(daemon, 2)
    assert {cdr["estimated"] for cdr in cdrs} == {False}
