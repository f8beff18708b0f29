"""Our link to the manager interface of a real Asterisk; and the simulated one beside it, telling the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from callctl.adapters.asterisk.link import AmiLink, LinkEvents, LinkTimes
from callctl.adapters.asterisk.wire import Message
from callctl.simulators.ami import Script, Setup
from tests.ami_story import Step, in_two, steps
from tests.ami_table import laid_table
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone
from tests.waiting import until

NUMBER = "+31612345678"
Sent = list[tuple[str, dict[str, str]]]


@asynccontextmanager
async def linked(asterisk: AsteriskRig, times: LinkTimes = LinkTimes()) -> AsyncIterator[tuple[AmiLink, list[Message]]]:  # noqa: B008  frozen
    events: list[Message] = []
    link = AmiLink(
        asterisk.host,
        asterisk.ami_port,
        "listener",
        "listener",
        LinkEvents(on_event=events.append),
        times=times,
    )
    running = asyncio.create_task(link.run())
    try:
        await until(lambda: link.up)
        yield link, events
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def gated(events: list[Message]) -> Message | None:
    return next((event for event in events if event.event == "UserEvent"), None)


def asked_once(events: list[Message]) -> list[Message]:
    """Without what the gate has asked again, a second later, on a busy machine."""
    first = gated(events)
    return [event for event in events if event.event != "UserEvent" or event is first]


def every_leg_is_gone(events: list[Message]) -> bool:
    names = [event.event for event in events]
    return names.count("Hangup") == names.count("Newchannel")


def by_leg(events: list[Message]) -> dict[str, tuple[list[Step], list[Step]]]:
    """The story of each leg. How the stories of two legs interleave varies from call to call."""
    story = steps(events)
    return {leg: in_two([step for step in story if step[1] == leg]) for leg in ("caller", "callee", "")}


async def perform(link: AmiLink, channel: str, actions: Sent) -> None:
    """The controller's part."""
    for name, headers in actions:
        response = await link.action(name, [("Channel", channel), *headers.items()])
        assert response.succeeded, response


def setvar(name: str, value: str) -> tuple[str, dict[str, str]]:
    return "Setvar", {"Variable": name, "Value": value}


DIAL = ("Redirect", {"Context": "callctl-dial", "Exten": NUMBER, "Priority": "1"})
REFUSE = ("Redirect", {"Context": "callctl-refuse", "Exten": NUMBER, "Priority": "1"})

# What is done at the gate; what once the callee rings; what the two carriers answer.
STORIES: dict[str, tuple[Sent, Sent, tuple[int | None, int]]] = {
    "refused with 402": ([("PJSIPHangup", {"Cause": "402"})], [], (200, 200)),
    "refused with cause 34": ([("Hangup", {"Cause": "34"})], [], (200, 200)),
    "refused by the dialplan": ([setvar("CC_SIP", "404"), REFUSE], [], (200, 200)),
    "refused by nobody": ([], [], (200, 200)),
    "answered and cut off": ([setvar("CC_LIMIT", "2"), DIAL], [], (200, 200)),
    "limit while ringing": ([setvar("CC_LIMIT", "1"), DIAL], [], (None, 200)),
    "hung up while ringing": ([DIAL], [("Hangup", {"Cause": "21"})], (None, 200)),
    "busy at the second carrier": ([DIAL], [], (503, 486)),
}


@pytest.mark.parametrize("story", STORIES)
async def test_the_simulator_tells_what_asterisk_tells(
    asterisk: AsteriskRig, acme: Phone, carrier: Phone, second_carrier: Phone, story: str
) -> None:
    at_gate, ringing, answers = STORIES[story]
    for phone, answer in zip((carrier, second_carrier), answers, strict=True):
        if answer is None:
            phone.answer_calls(after_s=60)
        elif answer != 200:
            phone.refuse_calls(answer)
    async with linked(asterisk) as (link, events):
        call = await acme.call(NUMBER)
        await until(lambda: gated(events))
        channel = events[-1]["Channel"]
        await perform(link, channel, at_gate)
        if ringing:
            await until(lambda: any(event.event == "DialState" for event in events))
            await perform(link, channel, ringing)
        await call.until_ended()
        await until(lambda: every_leg_is_gone(events))
        seen = list(events)
    gate_ms = 600_000 if at_gate else 3_000  # the simulator's time is faster than a busy machine
    async with laid_table(setup=Setup(trunks=("carrier-a", "carrier-b"), gate_ms=gate_ms)) as table:
        script = Script(caller="+31201234567", called=NUMBER, account="acme", ring_s=0.1, answers=answers)
        simulated = await table.gated(script)
        await perform(table.link, simulated.uniqueid, at_gate)
        if ringing:
            await until(lambda: any(event.event == "DialState" for event in table.events))
            await perform(table.link, simulated.uniqueid, ringing)
        told = await table.told(simulated)
        assert simulated.is_over
        assert (await simulated.outcome()).sip == call.status
    if at_gate:
        told, seen = asked_once(told), asked_once(seen)
    assert by_leg(told) == by_leg(seen)


async def test_a_frozen_asterisk_is_noticed_and_found_again(asterisk: AsteriskRig) -> None:
    times = LinkTimes(ping_every_ms=100, ping_answer_ms=300, retry_first_ms=50)
    async with linked(asterisk, times) as (link, _):
        asterisk.freeze()
        try:
            await until(lambda: not link.up)
            assert link.detail == "no answer to Ping"
        finally:
            asterisk.resume()
        await until(lambda: link.up)
        assert await link.query("Status") == []
