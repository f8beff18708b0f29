"""RADIUS by another's hand: radclient of FreeRADIUS asks and reports, with dictionaries and signatures of its own."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.adapters.radius.server import Places
from callctl.adapters.radius.switch import RadiusSwitch
from callctl.adapters.radius.wire import Client
from callctl.clock import SystemClock
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.servers import missing
from tests.waiting import until

SECRET = "a secret of both"
SIGNED = {"Message-Authenticator": "0x00"}
CALL = {"User-Name": "acme", "Calling-Station-Id": "+31201234567", "Called-Station-Id": "+31612345678"}
CONFERENCE = {"h323-conf-id": "h323-conf-id=1A2B3C4D 0 0 77"}


class Gateway:
    """A gateway that is radclient, before call control."""

    def __init__(self, room: ControlRoom, directory: Path) -> None:
        if not shutil.which("radclient"):
            missing("radclient", "radclient (Debian's freeradius-utils) is not installed")
        self.room = room
        self.secret = directory / "secret"
        self.secret.write_text(f"{SECRET}\n")

    async def start(self) -> None:
        client = Client("127.0.0.1", SECRET.encode(), disconnect_port=9)
        self.switch = RadiusSwitch(name="gw", places=Places("127.0.0.1", 0, 0), clients=[client], clock=SystemClock())
        await self.room.start(self.switch)
        await until(lambda: self.switch.state().up)

    async def send(self, kind: str, attributes: dict[str, str], port: int | None = None) -> str:
        """What radclient says of the answer; it checks its signature."""
        port = self.switch.ports[kind != "auth" if port is None else port]
        command = ["radclient", "-x", "-r", "1", "-t", "1", "-S", str(self.secret)]
        radclient = await asyncio.create_subprocess_exec(
            *command,
            f"127.0.0.1:{port}",
            kind,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        stated = "\n".join(f'{key} = "{value}"' for key, value in attributes.items())
        said, _ = await radclient.communicate(stated.replace('"0x00"', "0x00").encode())
        return said.decode()

    async def ask(self, session: str, **more: str) -> str:
        return await self.send("auth", CALL | {"Acct-Session-Id": session} | SIGNED | more)

    async def tell(self, status: str, session: str, **more: str) -> None:
        told = {"Acct-Status-Type": status, "Acct-Session-Id": session} | more
        assert "Received Accounting-Response" in await self.send("acct", told)

    async def recorded(self, count: int) -> list[dict]:
        await until(lambda: len(self.room.cdrs()) >= count and not self.room.calls.live())
        assert len(self.room.cdrs()) == count
        return self.room.cdrs()


@pytest.fixture
async def gateway(room: ControlRoom, tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(room, tmp_path)
    await gateway.start()
    return gateway


async def test_a_call_with_a_conference_that_its_reports_do_not_repeat(gateway: Gateway) -> None:
    await gateway.room.furnish(balance=100 * PER_SECOND)
    accepted = await gateway.ask("00A1", **CONFERENCE)
    assert "Received Access-Accept" in accepted
    assert "Session-Timeout = 100" in accepted
    assert 'h323-credit-time = "h323-credit-time=100"' in accepted
    assert 'h323-return-code = "h323-return-code=0"' in accepted
    await gateway.tell("Start", "00A1")
    await gateway.tell("Interim-Update", "00A1", **{"Acct-Session-Time": "30"})
    for _ in range(2):  # two packets of the same end
        await gateway.tell("Stop", "00A1", **{"Acct-Session-Time": "42", "Acct-Terminate-Cause": "User-Request"})
    (cdr,) = await gateway.recorded(1)
    assert (cdr["call_id"], cdr["charge"]) == ("1A2B3C4D 0 0 77@127.0.0.1", "0.0420")
    balance = await gateway.room.balance()
    assert (balance.balance, balance.held) == (58 * PER_SECOND, 0)


async def test_a_refusal(gateway: Gateway) -> None:
    await gateway.room.furnish(balance=0)
    refused = await gateway.ask("00A1")
    assert "Received Access-Reject" in refused
    assert 'h323-return-code = "h323-return-code=4"' in refused
    assert 'Reply-Message = "no credit"' in refused


@pytest.mark.parametrize("unsigned", [True, False])
async def test_an_unsigned_question_has_no_answer(gateway: Gateway, unsigned: bool) -> None:
    await gateway.room.furnish(balance=EURO)
    gateway.secret.write_text(f"{SECRET if unsigned else 'another'}\n")
    asked = CALL | {"Acct-Session-Id": "00A1"} | ({} if unsigned else SIGNED)
    assert "Received" not in await gateway.send("auth", asked)
    await until(lambda: gateway.switch.counts.untrusted)
    assert gateway.room.calls.live() == []


@pytest.mark.parametrize(("port", "answer"), [(0, "Access-Accept"), (1, "Accounting-Response")])
async def test_whether_we_live(gateway: Gateway, port: int, answer: str) -> None:
    assert f"Received {answer}" in await gateway.send("status", SIGNED, port=port)
    gateway.secret.write_text("another\n")
    assert "Received" not in await gateway.send("status", SIGNED, port=port)


async def test_a_wrong_password(gateway: Gateway) -> None:
    await gateway.room.furnish(balance=EURO)
    assert "Received Access-Reject" in await gateway.ask("00A1", **{"User-Password": "1234"})


async def test_callctl_is_restarted_during_a_call(gateway: Gateway) -> None:
    """The NAS repeats our Class, or names the session."""
    await gateway.room.furnish(balance=100 * PER_SECOND)
    accepted = await gateway.ask("00A1", **CONFERENCE)
    ours = accepted.partition("Class = ")[2].split()[0]
    await gateway.tell("Start", "00A1")
    await gateway.room.kill()
    await gateway.start()
    told = {"Acct-Status-Type": "Stop", "Acct-Session-Id": "00A1", "Acct-Session-Time": "42", "Class": ours}
    said = await gateway.send("acct", told)
    assert "Received Accounting-Response" in said
    (cdr,) = await gateway.recorded(1)
    assert cdr["call_id"] == "1A2B3C4D 0 0 77@127.0.0.1"


async def test_a_gateway_that_tells_ciscos_times(gateway: Gateway) -> None:
    await gateway.room.furnish(balance=100 * PER_SECOND)
    await gateway.ask("00A1", **CONFERENCE)
    setup = {"h323-setup-time": "h323-setup-time=16:27:10.000 UTC Wed Dec 2 2026", "h323-call-origin": "answer"}
    await gateway.tell("Start", "00A1", **CONFERENCE, **setup)
    await gateway.tell("Start", "00A2", **CONFERENCE, **setup | {"h323-call-origin": "h323-call-origin=originate"})
    times = {
        "h323-connect-time": "h323-connect-time=16:27:18.930 UTC Wed Dec 2 2026",
        "h323-disconnect-time": "h323-disconnect-time=16:27:30.180 UTC Wed Dec 2 2026",
        "h323-disconnect-cause": "h323-disconnect-cause=10",
    }
    await gateway.tell("Stop", "00A2", **CONFERENCE, **times | {"h323-call-origin": "originate"})
    await gateway.tell("Stop", "00A1", **CONFERENCE, **setup | times | {"Acct-Session-Time": "11"})
    (cdr,) = await gateway.recorded(1)
    assert (cdr["duration_ms"], cdr["billed_s"], cdr["q850"]) == (11_250, 12, 16)
