"""The whole of callctl, as a process with its embedded Redis, on a real Asterisk: killed in the middle of calls."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.provider import Provider
from tests.switches.linked import NUMBER, gone, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone

SWITCH = """
[policy]
slice_first_s = 6
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
    config = SWITCH.format(
        host=asterisk.host, port=asterisk.ami_port, user=asterisk.ami_user, secret=asterisk.ami_secret
    )
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


async def answered(daemon: Provider, calls: int = 1) -> list[Any]:
    """The live calls, once callctl knows, and its store too, that so many were answered."""

    async def all_answered() -> bool:
        live = (await daemon.good("GET", "/v1/calls"))["calls"]
        return [call["granted_until"] is not None for call in live] == [True] * calls

    await daemon.until(all_answered)
    found: list[Any] = (await daemon.good("GET", "/v1/calls"))["calls"]
    for call in found:  # the answer comes when nothing is on its way to the store any more
        await daemon.good("POST", f"/v1/calls/{call['call_id']}/extend", {"switch": "pbx1"})
    return found


async def balance(daemon: Provider) -> Decimal:
    return Decimal((await daemon.account())["balance"])


async def test_a_call_and_its_record(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish()
    call, outgoing = await talking(acme, carrier)
    (live,) = await answered(daemon)
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
    assert 4.9 <= call.talked_s <= 6
    assert await balance(daemon) == 0


async def test_an_operator_hangs_up(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish()
    call, outgoing = await talking(acme, carrier)
    (live,) = await answered(daemon)
    await daemon.good("DELETE", f"/v1/calls/{live['call_id']}?switch=pbx1")
    await call.until_ended()
    await outgoing.until_ended()
    (cdr,) = await settled(daemon)
    assert cdr["released_by"] == "callctl"


async def test_killed_it_leaves_the_limit_to_the_switch(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish("0.03")
    call, outgoing = await talking(acme, carrier)
    await answered(daemon)
    await daemon.kill()
    await call.until_ended()
    await outgoing.until_ended()
    assert 2.9 <= call.talked_s <= 4
    for _ in range(2):  # settled by the first start, and not again by the second
        await daemon.start()
        await linked(daemon)
        (cdr,) = await settled(daemon)
        assert (cdr["charge"], await balance(daemon)) == ("0.0300", Decimal(0))
        await daemon.kill()
    await daemon.start()


async def test_killed_and_started_it_goes_on_with_the_calls(daemon: Provider, acme: Phone, carrier: Phone) -> None:
    await daemon.furnish()
    calls = [await talking(acme, carrier, f"+3161234567{n}") for n in range(3)]
    await answered(daemon, 3)
    await daemon.kill()
    await daemon.start()
    await linked(daemon)
    for call, _ in calls:
        await call.ear.until_heard(lambda heard: heard.tones == (600,), since=(call.answered_at or 0) + 6.5)
        await call.hang_up()
    cdrs = await settled(daemon, 3)
    assert {cdr["estimated"] for cdr in cdrs} == {False}
    talked_ms = sorted(call.talked_s * 1000 for call, _ in calls)
    assert all(abs(ms - cdr) <= 500 for ms, cdr in zip(talked_ms, sorted(c["duration_ms"] for c in cdrs), strict=True))
    assert all(cdr["duration_ms"] > 6_500 for cdr in cdrs)  # beyond the first grant: extended by the second process


@pytest.mark.usefixtures("agi_gate")
async def test_killed_and_started_it_answers_again_at_the_asyncagi_gate(
    daemon: Provider, acme: Phone, carrier: Phone
) -> None:
    await daemon.furnish()
    talk, _ = await talking(acme, carrier)
    await answered(daemon)
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
