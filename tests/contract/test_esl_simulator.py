"""The simulated FreeSWITCH, asked by a bare socket: answers and refusals as they were measured."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from callctl.simulators import phones
from callctl.simulators.esl import EndedBy, EslSimulator, Script, Setup, SimCall, User
from callctl.simulators.esl.__main__ import describe, read_arguments
from callctl.simulators.scaled_clock import ScaledClock
from tests.patient import PatientClock
from tests.waiting import until

SPEED = 20


class Socket:
    """A client that knows no more than frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def frame(self) -> tuple[dict[str, str], str]:
        head = (await self.reader.readuntil(b"\n\n")).decode()
        headers = dict(line.split(": ", 1) for line in head.strip().splitlines())
        body = await self.reader.readexactly(int(headers.get("Content-Length", "0")))
        return headers, body.decode()

    async def ask(self, command: str) -> str:
        """The answer to one command; events that come before it are dropped."""
        self.writer.write(f"{command}\n\n".encode())
        while True:
            headers, body = await self.frame()
            if not headers["Content-Type"].startswith("text/event"):
                return body or headers["Reply-Text"]

    async def event(self, name: str) -> dict[str, str]:
        while True:
            headers, body = await self.frame()
            if headers["Content-Type"] == "text/event-json":
                told: dict[str, str] = json.loads(body)
                if told["Event-Name"] == name:
                    return told


USERS = {"meter@rig": User("pw"), "few@rig": User("pw", allowed_api=("show", "sched_api", "status"))}


@pytest.fixture
async def switch() -> AsyncIterator[EslSimulator]:
    clock = ScaledClock(PatientClock(), SPEED)
    async with EslSimulator("ClueCon", users=USERS, clock=clock) as switch:
        yield switch


@pytest.fixture
async def client(switch: EslSimulator) -> AsyncIterator[Socket]:
    reader, writer = await asyncio.open_connection("127.0.0.1", switch.port)
    client = Socket(reader, writer)
    assert (await client.frame())[0] == {"Content-Type": "auth/request"}
    assert await client.ask("auth ClueCon") == "+OK accepted"
    yield client
    writer.close()


async def parked(switch: EslSimulator, client: Socket, **script: object) -> SimCall:
    assert await client.ask("event json CHANNEL_PARK CHANNEL_HANGUP_COMPLETE") == "+OK event listener enabled json"
    call = switch.place_call(Script(caller="1", called="2", **script))  # type: ignore[arg-type]
    await client.event("CHANNEL_PARK")
    return call


async def talking(switch: EslSimulator, client: Socket) -> SimCall:
    call = await parked(switch, client, ring_s=0.1)
    assert await client.ask(f"api uuid_setvar_multi {call.uuid} callctl_go=yes") == "+OK\n"
    assert await client.ask(f"api uuid_transfer {call.uuid} 3 XML callctl-dial") == "+OK\n"
    assert await call.answer()
    return call


async def test_who_does_not_know_the_password_is_sent_away(switch: EslSimulator) -> None:
    for said in ("auth wrong", "userauth meter@rig:wrong", "userauth nobody@rig:pw"):
        reader, writer = await asyncio.open_connection("127.0.0.1", switch.port)
        client = Socket(reader, writer)
        await client.frame()
        assert await client.ask("api status") == "-ERR command not found"
        assert await client.ask(said) == "-ERR invalid"
        assert (await client.frame())[0]["Content-Type"] == "text/disconnect-notice"
        assert await reader.read() == b""
        writer.close()


async def test_errors_are_the_real_ones(client: Socket) -> None:
    assert await client.ask("api uuid_kill x") == "-ERR No such channel!\n"
    assert await client.ask("api uuid_exists x") == "false"
    assert await client.ask("api nonsense") == "-ERR nonsense Command not found!\n"
    assert await client.ask("nonsense") == "-ERR command not found"
    assert await client.ask("event json") == "-ERR no keywords supplied"
    assert await client.ask("api show channels as json") == '{"row_count": 0}\n'
    assert await client.ask("api sched_del nothing") == "+OK Deleted: 0\n"
    assert await client.ask("exit") == "+OK bye"
    assert (await client.frame())[0]["Content-Type"] == "text/disconnect-notice"


async def test_a_line_break_in_a_value_is_a_second_command(switch: EslSimulator, client: Socket) -> None:
    """As in the real one: what sends such a value is lost."""
    call = await parked(switch, client)
    await client.ask(f"api uuid_setvar {call.uuid} x a\n\napi hupall NORMAL_CLEARING")
    assert await call.outcome()


@pytest.mark.parametrize(
    ("cause", "sip"),
    [
        ("CALL_REJECTED", 603),
        ("OUTGOING_CALL_BARRED", 403),
        ("57", 403),
        ("1", 404),
        ("USER_BUSY", 486),
        ("41", 503),
        ("28", 484),
        ("ALLOTTED_TIMEOUT", 480),
        ("NO_SUCH_CAUSE", 480),
        ("999", 480),
    ],
)
async def test_a_cause_has_its_status(switch: EslSimulator, client: Socket, cause: str, sip: int) -> None:
    call = await parked(switch, client)
    assert await client.ask(f"api uuid_kill {call.uuid} {cause}") == "+OK\n"
    assert (await call.outcome()).sip == sip


async def test_402_is_another_legs_status(switch: EslSimulator, client: Socket) -> None:
    call = await parked(switch, client)
    await client.ask(f"api uuid_setvar {call.uuid} last_bridge_proto_specific_hangup_cause sip:402")
    await client.ask(f"api uuid_kill {call.uuid} CALL_REJECTED")
    assert ((await call.outcome()).sip, (await call.outcome()).cause) == (402, "CALL_REJECTED")
    end = await client.event("CHANNEL_HANGUP_COMPLETE")
    assert (end["variable_sip_hangup_disposition"], end["variable_hangup_cause_q850"]) == ("send_refuse", "21")


async def test_a_call_that_nobody_takes_care_of_ends_by_itself(switch: EslSimulator, client: Socket) -> None:
    call = await parked(switch, client)
    outcome = await call.outcome()
    assert (outcome.sip, outcome.cause, outcome.ended_by) == (503, "NORMAL_TEMPORARY_FAILURE", EndedBy.DIALPLAN)


async def test_a_task_of_the_scheduler_comes_at_a_whole_second(switch: EslSimulator, client: Socket) -> None:
    call = await talking(switch, client)
    before_us = switch.core.now_us()
    assert re.fullmatch(r"\+OK Added: \d+\n", await client.ask(f"api sched_api +3 mine uuid_kill {call.uuid} 16"))
    outcome = await call.outcome()
    assert outcome.ended_by is EndedBy.LIMIT
    assert 2_000_000 <= outcome.ended_us - before_us <= 4_500_000


async def test_tasks_of_a_leg_go_with_it_and_others_stay(switch: EslSimulator, client: Socket) -> None:
    call = await talking(switch, client)
    await client.ask(f"api sched_hangup +60 {call.uuid} ALLOTTED_TIMEOUT")
    await client.ask(f"api sched_api +60 mine uuid_kill {call.uuid} 16")
    assert [task.group for task in switch.core.tasks] == [call.uuid, "mine"]
    call.hang_up()
    await call.outcome()
    assert [task.group for task in switch.core.tasks] == ["mine"]
    assert await client.ask("api sched_del mine") == "+OK Deleted: 1\n"


async def test_the_list_is_late_and_the_dump_is_not(client: Socket, switch: EslSimulator) -> None:
    switch.core.setup = Setup(list_lag_ms=2_000)
    call = await talking(switch, client)
    assert json.loads(await client.ask("api show channels as json"))["row_count"] == 0
    assert json.loads(await client.ask(f"api uuid_dump {call.uuid} json"))["Answer-State"] == "answered"
    await switch.core.clock.sleep_ms(2_500)
    assert len(json.loads(await client.ask("api show channels as json"))["rows"]) == 2
    call.hang_up()
    await call.outcome()
    assert len(json.loads(await client.ask("api show channels as json"))["rows"]) == 2
    assert await client.ask(f"api uuid_dump {call.uuid} json") == "-ERR No such channel!\n"


async def test_billsec_is_a_difference_of_whole_seconds(switch: EslSimulator, client: Socket) -> None:
    call = await talking(switch, client)
    await switch.core.clock.sleep_ms(1_500)
    call.hang_up()
    outcome = await call.outcome()
    variables = call.caller.variables
    assert variables["billusec"] == str(outcome.billed_us)
    whole_s = outcome.ended_us // 1_000_000 - outcome.answered_us // 1_000_000
    assert variables["billsec"] == str(whole_s)


async def test_another_core_after_a_restart(switch: EslSimulator, client: Socket) -> None:
    before = await client.ask("api global_getvar core_uuid")
    await switch.restart()
    assert await client.reader.read() == b""
    assert switch.core.uuid != before


async def test_a_background_job_answers_after_its_reply(client: Socket) -> None:
    await client.ask("event json BACKGROUND_JOB")
    assert await client.ask("bgapi uuid_exists x\nJob-UUID: mine") == "+OK Job-UUID: mine"
    job = await client.event("BACKGROUND_JOB")
    assert (job["Job-UUID"], job["_body"]) == ("mine", "false")


async def test_plain_events_are_encoded_but_for_what_was_already(switch: EslSimulator, client: Socket) -> None:
    await client.ask("event plain CHANNEL_PARK")
    switch.place_call(Script(caller="1", called="2", caller_name="Ev%0AX-Injected: yes"))
    headers, body = await client.frame()
    assert headers["Content-Type"] == "text/event-plain"
    assert "Caller-Caller-ID-Name: Ev%0AX-Injected%3A%20yes\n" in body


@pytest.mark.parametrize("message", ["respond", "hangup"])
async def test_a_message_may_end_a_call(switch: EslSimulator, client: Socket, message: str) -> None:
    call = await parked(switch, client)
    argument = "402 Payment Required" if message == "respond" else "USER_BUSY"
    lines = f"call-command: execute\nexecute-app-name: {message}\nexecute-app-arg: {argument}\nevent-lock: true"
    assert await client.ask(f"sendmsg {call.uuid}\n{lines}") == "+OK"
    assert (await call.outcome()).sip == (402 if message == "respond" else 486)


async def test_a_302_is_followed_where_nobody_forbids_it(switch: EslSimulator, client: Socket) -> None:
    call = await parked(switch, client, ring_s=0.1, forwards_to="999")
    await client.ask(f"api uuid_setvar_multi {call.uuid} callctl_go=yes")
    await client.ask(f"api uuid_transfer {call.uuid} 3 XML callctl-dial")
    assert await call.answer()
    assert [leg.exten for leg in call.legs[1:]] == ["3", "999"]


async def test_an_api_that_a_user_may_not_use(switch: EslSimulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", switch.port)
    client = Socket(reader, writer)
    await client.frame()
    writer.write(b"userauth few@rig:pw\n\n")
    answered, _ = await client.frame()
    assert answered["Allowed-API"] == "show,sched_api,status"
    for command in ("hupall", "sched_api +5 group status", "sched_api status"):
        assert (await client.ask(f"api {command}") == "-ERR permission denied") == (command != "sched_api status")
    writer.close()


async def test_it_is_a_tool_of_its_own() -> None:
    options = read_arguments(["--calls", "2", "--called", "1", "--called", "2", "--talk", "0"])
    first, second = (Script(**terms) for terms in phones.scripts(options))
    assert (first.called, second.called, first.talk_s) == ("1", "2", None)
    async with EslSimulator("x", clock=ScaledClock(PatientClock(), 200)) as switch:
        call = switch.place_call(first)
        line = describe(first, await call.outcome())
        await until(lambda: not switch.calls)
    assert line.endswith("31201234567 > 1  503 NORMAL_TEMPORARY_FAILURE by dialplan")
