"""The simulated Asterisk tells a call as the recorded real one did: same events, same headers, same order."""

from collections import defaultdict
from collections.abc import AsyncIterator

import pytest

from callctl.adapters.asterisk.wire import Message
from callctl.simulators.ami import EndedBy, Script
from tests.ami_story import ELSEWHERE, in_two, steps
from tests.ami_table import Table, laid_table
from tests.replay.recordings import names, received
from tests.waiting import until


@pytest.fixture
async def table() -> AsyncIterator[Table]:
    async with laid_table() as ready:
        yield ready


SCRIPT = Script(caller="15550001", called="9551", ring_s=0.5)


async def play(table: Table, recording: str) -> list[Message]:
    """The recorded call, played again by the simulator."""
    match recording:
        case "20" | "21":
            call = await table.gated(SCRIPT)
            action, cause = ("Hangup", 21) if recording == "20" else ("PJSIPHangup", 402)
            await table.link.action(action, [("Channel", call.caller.name), ("Cause", cause)])
        case "30":
            call = await table.allowed(SCRIPT, limit_s=3)
        case "33":
            call = await table.allowed(SCRIPT)
            await call.answer()
            assert call.callee is not None
            await table.link.action("Hangup", [("Channel", call.callee.name), ("Cause", 16)])
        case "80":
            call = await table.allowed(Script(caller="1", called="9486", answers=(486,)))
        case "81":
            call = await table.allowed(Script(caller="1", called="9551", ring_s=60))
            await until(lambda: any(event.event == "DialState" for event in table.events))
            call.hang_up()
        case "82":
            script = Script(caller="1", called="9551", ring_s=0.5, talk_s=1, hung_up_by=EndedBy.CALLEE)
            call = await table.allowed(script)
    return await table.told(call)


@pytest.mark.parametrize("recording", ["20", "21", "30", "33", "80", "81", "82"])
async def test_a_call_is_told_as_recorded(table: Table, recording: str) -> None:
    told = [event for event in await play(table, recording) if event.get("UserEvent") != "CCAuthorize"]
    assert in_two(steps(told)) == in_two(steps(received(recording)))


async def test_the_gate_is_told_as_recorded(table: Table) -> None:
    call = await table.allowed(SCRIPT)
    await call.answer()
    told, recorded = steps(list(table.events[1:])), steps(received("61"))
    until_answer = [step[0] for step in recorded].index("DialEnd") + 1
    await until(lambda: len(table.events) > until_answer)
    assert steps(table.events[1:])[:until_answer] == recorded[:until_answer]
    assert told[: len(told)] == recorded[: len(told)]


def header_names(message: Message) -> tuple[str, ...]:
    """A channel of its own name is in some header names; a UserEvent's own headers are the dialplan's."""
    pairs = [name.partition("(")[0] for name, _ in message.pairs()]
    return tuple(pairs[: pairs.index("UserEvent") + 1] if "UserEvent" in pairs else pairs)


@pytest.fixture(scope="module")
def recorded_headers() -> dict[str, set[tuple[str, ...]]]:
    """Per event (or response), every sequence of header names that a real Asterisk 22 sent."""
    headers = defaultdict(set)
    for name in names():
        for message in received(name):
            headers[message.event].add(header_names(message))
    return headers


@pytest.mark.parametrize("recording", ["20", "21", "30", "33", "80", "81", "82"])
async def test_every_header_in_its_place(
    table: Table, recording: str, recorded_headers: dict[str, set[tuple[str, ...]]]
) -> None:
    for event in await play(table, recording):
        assert header_names(event) in recorded_headers[event.event], event.event


async def test_a_warning_is_told_as_recorded(table: Table, recorded_headers: dict[str, set[tuple[str, ...]]]) -> None:
    call = await table.allowed(SCRIPT)
    await call.answer()
    await until(lambda: table.events[-1].event == "BridgeEnter")
    before = len(table.events)
    whisper = [("Channel", "Local/whisper@callctl-announce/n"), ("Application", "Playback"), ("Data", "beep")]
    whisper += [("Variable", f"CC_CHANNEL={call.uniqueid}"), ("ChannelId", "w1"), ("OtherChannelId", "w2")]
    assert (await table.link.action("Originate", [*whisper, ("CallerID", "cc <0>")])).succeeded
    await until(lambda: table.events[-1].event == "Hangup" and table.events[-1]["Uniqueid"] == "w2")
    told = table.events[before:]
    recording = [event for event in received("41") if event.event and event.event not in ELSEWHERE]
    start = next(n for n, event in enumerate(recording) if event.get("Uniqueid") == "cc-ann-1")
    assert [event.event for event in told] == [event.event for event in recording[start : start + len(told)]]
    for event in told:
        assert header_names(event) in recorded_headers[event.event], event.event


async def test_lists_are_told_as_recorded(table: Table, recorded_headers: dict[str, set[tuple[str, ...]]]) -> None:
    call = await table.allowed(SCRIPT)
    await call.answer()
    wanted = [("Variables", ",".join(f"V{n}" for n in range(12)))]  # as many as the recording asked for
    for event in await table.link.query("Status", wanted) + await table.link.query("CoreShowChannels"):
        assert header_names(event) in recorded_headers[event.event]
