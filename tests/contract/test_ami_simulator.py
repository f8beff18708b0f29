"""The simulated Asterisk as a tool: calls, refusals, limits, warnings, and what can go wrong."""

import asyncio
import sys
from collections.abc import AsyncIterator

import panoramisk
import pytest

from callctl.simulators.ami import AmiSimulator, EndedBy, Script, Setup, User
from tests.ami_table import Table, laid_table
from tests.waiting import until

CALL = Script(caller="31201234567", called="31612345678", account="acme", ring_s=0.2)


@pytest.fixture
async def table() -> AsyncIterator[Table]:
    async with laid_table() as ready:
        yield ready


async def test_the_gate_says_all_that_the_dialplan_knows(table: Table) -> None:
    call = await table.gated(Script(caller="100", called="0612", account="acme", endpoint="pbx", source_ip="192.0.2.7"))
    event = next(event for event in table.events if event.event == "UserEvent")
    assert event["UserEvent"] == "CCAuthorize"
    assert event.user_headers() == {
        "Caller": "100",
        "Called": "0612",
        "Endpoint": "pbx",
        "Account": "acme",
        "Source": "192.0.2.7",
        "SIPCallID": call.caller.sip_call_id,
        "Direction": "outbound",
    }
    assert event.variables() == {"CC_CALL": call.uniqueid, "CC_ACCT": "acme"}


async def test_without_an_answer_the_gate_refuses(table: Table) -> None:
    outcome = await (await table.gated(CALL)).outcome()
    assert (outcome.sip, outcome.q850, outcome.ended_by) == (503, 34, EndedBy.DIALPLAN)
    assert (outcome.answered_us, outcome.talked_ms) == (None, 0)


async def test_without_an_answer_a_trusted_customer_may_call() -> None:
    async with laid_table(setup=Setup(fail_open=True)) as table:
        call = table.switch.place_call(Script(caller="1", called="2", ring_s=0.1, talk_s=0.5))
        assert (await call.outcome()).sip == 200
        assert [event["UserEvent"] for event in table.events if "UserEvent" in event] == [
            *["CCAuthorize"] * 3,
            "CCUncontrolled",
        ]


async def test_an_emergency_call_does_not_wait(table: Table) -> None:
    call = table.switch.place_call(Script(caller="1", called="112", ring_s=0.1, talk_s=0.5))
    assert (await call.outcome()).sip == 200
    assert [event["UserEvent"] for event in table.events if "UserEvent" in event] == ["CCEmergency"]


async def test_a_talk_is_measured_by_the_switch(table: Table) -> None:
    call = await table.allowed(Script(caller="1", called="2", ring_s=0.2, talk_s=3, hung_up_by=EndedBy.CALLEE))
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.CALLEE
    assert outcome.talked_ms >= 3_000
    told = await table.told(call)
    answered = next(event for event in told if event.get("DialStatus") == "ANSWER")
    assert answered["Timestamp"].replace(".", "") == str(outcome.answered_us)
    gone = next(event for event in told if event.event == "Hangup" and event["Channel"] == call.callee.name)
    assert gone["Timestamp"].replace(".", "") == str(outcome.ended_us)


async def test_the_carrier_is_handed_the_number_and_the_account(table: Table) -> None:
    call = await table.gated(CALL)
    await table.set_variable(call, "CC_NUMBER", "+31612345678")
    await table.act("Redirect", call.caller, Context="callctl-dial", Exten=CALL.called, Priority=1)
    await call.answer()
    begin = next(event for event in table.events if event.event == "DialBegin")
    assert begin["DialString"] == "+31612345678@carrier-a"
    assert begin.variables("DestChanVariable") == {"CC_CALL": call.uniqueid, "CC_ACCT": "acme"}


@pytest.mark.parametrize(
    ("answers", "sip", "q850", "dialled"),
    [
        ((486,), 486, 17, ["carrier-a"]),
        ((404,), 404, 1, ["carrier-a"]),
        ((503, 486), 486, 17, ["carrier-a", "carrier-b"]),
        ((503, 503), 503, 34, ["carrier-a", "carrier-b"]),
        ((None,), 480, 19, ["carrier-a"]),
    ],
)
async def test_trunks_that_fail(answers: tuple[int | None, ...], sip: int, q850: int, dialled: list[str]) -> None:
    async with laid_table(setup=Setup(trunks=("carrier-a", "carrier-b"), ring_limit_ms=2_000)) as table:
        call = await table.allowed(Script(caller="1", called="2", ring_s=0.1, answers=answers))
        outcome = await call.outcome()
        assert (outcome.sip, outcome.q850) == (sip, q850)
        told = await table.told(call)
        begun = [event["DialString"].split("@")[1] for event in told if event.event == "DialBegin"]
        assert begun == dialled
        assert [event.event for event in told].count("Hangup") == len(dialled) + 1
        assert len(table.switch.exchange) == 0


async def test_a_call_to_a_customer_goes_to_its_endpoint(table: Table) -> None:
    call = await table.gated(Script(caller="1", called="31201234567", direction="inbound", ring_s=0.1))
    await table.set_variable(call, "CC_DIAL", "acme-pbx")
    await table.act("Redirect", call.caller, Context="callctl-dial", Exten="31201234567", Priority=1)
    await call.answer()
    assert call.callee is not None
    assert call.callee.name.startswith("PJSIP/acme-pbx-")


@pytest.mark.parametrize(
    ("asked", "sip", "q850"),
    [("402", 402, 127), ("404", 404, 1), ("580", 580, 34), ("200", 603, 21), ("700", 603, 21), ("x", 603, 21)],
)
async def test_pjsip_hangup_refuses_with_that_status(table: Table, asked: str, sip: int, q850: int) -> None:
    call = await table.gated(CALL)
    assert (await table.act("PJSIPHangup", call.caller, Cause=asked)).succeeded
    outcome = await call.outcome()
    assert (outcome.sip, outcome.q850, outcome.ended_by) == (sip, q850, EndedBy.CONTROLLER)


@pytest.mark.parametrize(("cause", "sip"), [("21", 403), ("34", 503), ("17", 486), ("3", 404), ("52", 603), ("", 603)])
async def test_hangup_refuses_by_its_cause(table: Table, cause: str, sip: int) -> None:
    call = await table.gated(CALL)
    assert (await table.act("Hangup", call.caller, Cause=cause)).succeeded
    assert (await call.outcome()).sip == sip


async def test_an_announcement_comes_before_the_refusal(table: Table) -> None:
    call = await table.gated(CALL)
    asked_us = int(table.events[-1]["Timestamp"].replace(".", ""))
    await table.set_variable(call, "CC_SIP", "402")
    await table.set_variable(call, "CC_ANNOUNCEMENT", "no-credit")
    await table.act("Redirect", call.caller, Context="callctl-refuse", Exten=CALL.called, Priority=1)
    outcome = await call.outcome()
    assert (outcome.sip, outcome.announcement) == (402, "no-credit")
    assert outcome.ended_us - asked_us >= table.switch.exchange.setup.playback_ms * 1_000


async def test_asterisk_16_refuses_by_cause_only() -> None:
    async with laid_table(setup=Setup(release=16)) as table:
        assert table.link.version == "5.0.4"
        call = await table.gated(CALL)
        answer = await table.act("PJSIPHangup", call.caller, Cause=402)
        assert answer["Message"].startswith("Invalid/unknown command: PJSIPHangup.")
        await table.set_variable(call, "CC_SIP", "402")
        await table.set_variable(call, "CC_CAUSE", "21")
        await table.act("Redirect", call.caller, Context="callctl-refuse", Exten=CALL.called, Priority=1)
        assert (await call.outcome()).sip == 403
        assert not any("TechCause" in event for event in await table.told(call))


async def test_a_redirect_to_nowhere_ends_the_call(table: Table) -> None:
    call = await table.gated(CALL)
    answer = await table.act("Redirect", call.caller, Context="nowhere", Exten="1", Priority=1)
    assert answer.succeeded
    assert (await call.outcome()).sip == 603


async def test_a_caller_gives_up_at_the_gate(table: Table) -> None:
    call = await table.gated(Script(caller="1", called="2", cancel_after_s=0.5))
    outcome = await call.outcome()
    assert (outcome.sip, outcome.ended_by, outcome.answered_us) == (487, EndedBy.CALLER, None)
    assert await call.answer() is None


async def test_a_caller_gives_up_while_it_rings_but_not_after_the_answer(table: Table) -> None:
    ringing = await table.allowed(Script(caller="1", called="2", ring_s=60, cancel_after_s=1))
    assert (await ringing.outcome()).sip == 487
    table.events.clear()
    quick = await table.allowed(Script(caller="1", called="2", ring_s=0.1, cancel_after_s=1, talk_s=2))
    outcome = await quick.outcome()
    assert (outcome.sip, outcome.talked_ms >= 2_000) == (200, True)


async def test_a_ringing_callee_declines(table: Table) -> None:
    call = await table.allowed(Script(caller="1", called="2", ring_s=60))
    await until(lambda: any(event.event == "DialState" for event in table.events))
    call.hang_up(EndedBy.CALLEE)
    outcome = await call.outcome()
    assert (outcome.sip, outcome.q850, outcome.ended_by) == (403, 21, EndedBy.CALLEE)


async def test_a_name_that_is_not_utf8(table: Table) -> None:
    name = b"J\xf6rg".decode("utf-8", "surrogateescape")
    call = await table.gated(Script(caller="1", called="2", caller_name=name))
    event = next(event for event in table.events if event.event == "UserEvent")
    assert (event["CallerIDName"], event["Uniqueid"]) == ("J\ufffdrg", call.uniqueid)


async def test_pjsip_hangup_does_nothing_after_the_answer(table: Table) -> None:
    call = await table.allowed(CALL)
    await call.answer()
    assert (await table.act("PJSIPHangup", call.caller, Cause=402))["Message"] == "Channel Hungup"
    assert not call.is_over
    assert (await table.act("Hangup", call.caller, Cause=42)).succeeded
    outcome = await call.outcome()
    assert (outcome.sip, outcome.q850, outcome.ended_by) == (200, 42, EndedBy.CONTROLLER)


@pytest.mark.parametrize("leg", ["caller", "callee"])
async def test_a_limit_on_either_leg_ends_the_call(table: Table, leg: str) -> None:
    call = await table.allowed(CALL)
    await call.answer()
    assert (await table.act("AbsoluteTimeout", getattr(call, leg), Timeout="1.5"))["Message"] == "Timeout Set"
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    assert outcome.ended_us - call.limits[-1].at_us >= 1_500_000


async def test_a_limit_set_anew_replaces_the_former(table: Table) -> None:
    call = await table.allowed(CALL, limit_s=2)
    await call.answer()
    await table.act("AbsoluteTimeout", call.caller, Timeout=4)
    outcome = await call.outcome()
    assert [limit.seconds for limit in call.limits] == [2, 4]
    assert outcome.ended_us - call.limits[-1].at_us >= 4_000_000


async def test_a_limit_can_be_taken_away_by_setvar_alone(table: Table) -> None:
    call = await table.allowed(CALL, limit_s=2)
    await call.answer()
    assert (await table.act("AbsoluteTimeout", call.caller, Timeout=0))["Message"] == "No timeout specified"
    await table.set_variable(call, "TIMEOUT(absolute)", "0")
    await table.switch.exchange.clock.sleep_ms(3_000)
    assert not call.is_over


async def test_the_limit_counts_while_it_rings(table: Table) -> None:
    call = await table.allowed(Script(caller="1", called="2", ring_s=60), limit_s=2)
    outcome = await call.outcome()
    assert (outcome.sip, outcome.ended_by) == (480, EndedBy.LIMIT)


@pytest.mark.parametrize(
    ("exten", "leg", "to"),
    [("whisper", "caller", "caller"), ("whisper", "callee", "callee"), ("barge", "caller", "both")],
)
async def test_who_hears_a_warning(table: Table, exten: str, leg: str, to: str) -> None:
    call = await table.allowed(CALL)
    await call.answer()
    answer = await table.link.action(
        "Originate",
        [
            ("Channel", f"Local/{exten}@callctl-announce/n"),
            ("Application", "Playback"),
            ("Data", "callctl/60-seconds"),
            ("Variable", f"CC_CHANNEL={getattr(call, leg).name}"),
            ("Async", "true"),
        ],
    )
    assert answer.succeeded
    await until(lambda: call.warnings)
    assert [(warning.to, warning.sound) for warning in call.warnings] == [(to, "callctl/60-seconds")]


@pytest.mark.parametrize(
    ("action", "headers", "message"),
    [
        ("Setvar", {"Channel": "x", "Variable": "v", "Value": "1"}, "No such channel"),
        ("Setvar", {"Channel": "x"}, "No variable specified"),
        ("Getvar", {"Channel": "x", "Variable": "v"}, "No such channel"),
        ("Redirect", {"Channel": "x", "Context": "c", "Exten": "1", "Priority": "1"}, "Channel does not exist: x"),
        ("Redirect", {"Channel": "x"}, "Context not specified"),
        ("Redirect", {}, "Channel not specified"),
        ("AbsoluteTimeout", {"Channel": "x", "Timeout": "1"}, "No such channel"),
        ("AbsoluteTimeout", {"Timeout": "1"}, "No channel specified"),
        ("PJSIPHangup", {"Channel": "x", "Cause": "402"}, "No such channel"),
        ("Originate", {}, "Channel not specified"),
        ("Nonsense", {}, "Invalid/unknown command: Nonsense. Use Action: ListCommands to show available commands."),
    ],
)
async def test_errors_in_asterisks_words(table: Table, action: str, headers: dict[str, str], message: str) -> None:
    answer = await table.link.action(action, headers.items())
    assert (answer.succeeded, answer["Message"]) == (False, message)


async def test_rights_are_kept() -> None:
    few = User("pw", read=frozenset({"user"}), write=frozenset({"reporting"}))
    async with laid_table(few) as table:
        call = await table.gated(CALL)
        assert (await table.act("Hangup", call.caller))["Message"] == "Permission denied"
        assert len(await table.link.query("Status")) == 1
        assert [event.event for event in table.events] == ["UserEvent"]


async def test_duplicated_events(table: Table) -> None:
    table.switch.faults.duplicate = True
    call = await table.gated(CALL)
    await table.act("Hangup", call.caller)
    told = await table.told(call)
    assert [repr(event) for event in told[::2]] == [repr(event) for event in told[1::2]]


async def test_lost_events(table: Table) -> None:
    table.switch.faults.lose = frozenset({"Hangup"})
    call = await table.gated(CALL)
    await table.act("Hangup", call.caller)
    assert [event.event for event in await table.told(call)] == ["Newchannel", "UserEvent", "SoftHangupRequest"]


async def test_late_events_keep_their_order(table: Table) -> None:
    table.switch.faults.delay_ms = 400
    call = table.switch.place_call(CALL)
    await call.outcome()
    table.switch.faults.delay_ms = 0
    told = [event.event for event in await table.told(call)]
    assert told == ["Newchannel", *["UserEvent"] * 3, "SoftHangupRequest", "Hangup"]


async def test_hangups_in_the_other_order(table: Table) -> None:
    table.switch.faults.reorder_hangups = True
    call = await table.allowed(Script(caller="1", called="2", ring_s=0.1, talk_s=0.1))
    told = [event["Channel"] for event in await table.told(call) if event.event == "Hangup"]
    assert call.callee is not None
    assert told == [call.callee.name, call.caller.name]


async def test_a_broken_link_ends_no_call(table: Table) -> None:
    call = await table.allowed(CALL)
    await call.answer()
    await table.switch.drop_links()
    await until(lambda: table.link.counts.connections == 2)
    listed = await table.link.query("Status", [("Variables", "CDR(answer,u)")])
    assert {item["Uniqueid"] for item in listed} == {channel.uniqueid for channel in table.switch.exchange}
    answered = listed[0].variables("Variable")["CDR(answer,u)"]
    assert answered.replace(".", "") == str(call.answered_us)


async def test_a_killed_switch_tells_nothing_and_has_no_call_left(table: Table) -> None:
    call = await table.allowed(CALL)
    await call.answer()
    before = len(table.events)
    await table.switch.restart()
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.SWITCH
    await until(lambda: table.link.counts.connections == 2)
    assert await table.link.query("CoreShowChannels") == []
    assert not any(event.event == "Hangup" for event in table.events[before:])


async def test_a_switch_that_stops_cleanly_tells_every_hangup(table: Table) -> None:
    call = await table.allowed(CALL)
    await call.answer()
    await table.switch.restart(cleanly=True)
    await until(lambda: table.link.counts.connections == 2)
    told = [event.event for event in table.events]
    assert told.count("Hangup") == 2
    assert told[-2:] == ["Shutdown", "FullyBooted"]


async def raw(port: int, *actions: bytes) -> bytes:
    """All that the switch says to these actions before it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for action in actions:
        writer.write(action)
    answer = await reader.read()
    writer.close()
    return answer


LOGOFF = b"Action: Logoff\r\n\r\n"


async def test_the_door_as_bytes(table: Table) -> None:
    port = table.switch.port
    login = b"action: login\r\nusername: callctl\r\nsecret: pw\r\nevents: off\r\n\r\n"
    goodbye = b"Response: Goodbye\r\nMessage: Thanks for all the fish.\r\n\r\n"
    assert await raw(port, LOGOFF) == b"Asterisk Call Manager/11.0.0\r\n" + goodbye
    assert b"Message: Permission denied" in await raw(port, b"Action: Ping\r\n\r\n", LOGOFF)
    assert b"Message: Missing action in request" in await raw(port, login, b"A: b\r\n\r\n", LOGOFF)
    assert b"Event:" not in await raw(port, login, LOGOFF)
    wrong = await raw(port, b"Action: Login\r\nActionID: 7\r\nUsername: callctl\r\nSecret: no\r\n\r\n")
    assert wrong.endswith(b"Response: Error\r\nActionID: 7\r\nMessage: Authentication failed\r\n\r\n")


async def test_a_line_that_asterisk_would_not_read_is_dropped(table: Table) -> None:
    call = await table.gated(CALL)
    login = b"Action: Login\r\nUsername: callctl\r\nSecret: pw\r\nEvents: off\r\n\r\n"
    setvar = f"Action: Setvar\r\nChannel: {call.uniqueid}\r\nVariable: V\r\nValue: {'x' * 1100}\r\n\r\n".encode()
    assert b"Variable Set" in await raw(table.switch.port, login, setvar, LOGOFF)
    assert (await table.act("Getvar", call.caller, Variable="V"))["Value"] == ""


async def test_panoramisk_as_an_independent_client() -> None:
    """A client that we did not write finds an Asterisk."""
    async with AmiSimulator({"callctl": User("pw")}) as switch:
        manager = panoramisk.Manager(
            loop=asyncio.get_running_loop(), host="127.0.0.1", port=switch.port, username="callctl", secret="pw"
        )
        heard: list[panoramisk.message.Message] = []
        manager.register_event("*", lambda _manager, message: heard.append(message))
        await manager.connect()
        await until(lambda: manager.authenticated)
        pong = await manager.send_action({"Action": "Ping"})
        assert (pong.success, pong.ping) == (True, "Pong")
        call = switch.place_call(CALL)
        await until(lambda: any(message.event == "UserEvent" for message in heard))
        assert heard[-1].userevent == "CCAuthorize"
        assert heard[-1].called == "31612345678"
        listed = await manager.send_action({"Action": "CoreShowChannels"})
        assert [item.uniqueid for item in listed if item.event == "CoreShowChannel"] == [call.uniqueid]
        refused = await manager.send_action({"Action": "PJSIPHangup", "Channel": call.uniqueid, "Cause": "402"})
        assert refused.success
        assert (await call.outcome()).sip == 402
        manager.close()


async def test_from_the_command_line() -> None:
    """The tool says what became of each call; without a controller the gate refuses."""
    command = ["-m", "callctl.simulators.ami", "--port", "0", "--speed", "100", "--calls", "2", "--every", "0"]
    numbers = ["--called", "112", "--called", "31612345678"]
    tool = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *numbers,
        "--talk",
        "5",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(tool.communicate(), 20)
    first, *calls = output.decode().splitlines()
    assert first.startswith("Asterisk 22, simulated: manager interface on 127.0.0.1:")
    assert sorted(line.split("  ", 1)[1] for line in calls)[1] == "31201234567 > 31612345678  503 by dialplan"
    assert "31201234567 > 112  talked 5." in output.decode()
