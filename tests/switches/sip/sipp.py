"""Many calls at once, by SIPp: where it is the number that counts, not what is heard.

async with carrier(rig, ring_s=0.1):
    outcome = await call_many(rig, ACME, "+31612345678", calls=100, per_second=20, talk_s=3)
assert outcome == Outcome(calls=100, ended_by_caller=100, ended_by_switch=0)
"""

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from tests.servers import missing, mortal
from tests.switches.exactness import APART_MS
from tests.switches.rig.asterisk import CARRIER_A, AsteriskRig

SCENARIOS = Path(__file__).parent / "scenarios"
GRACE_S = 60.0  # beyond the time that the calls themselves take


@dataclass(frozen=True)
class Outcome:
    """What became of a batch. `calls` went as their scenario says; a batch with any other call raises.

    By SIPp's own clock, with which a switch must agree however busy the machine is: no call was up for less than
    `shortest_ms`, from the 200 to the BYE, or for more than `longest_ms`, from the INVITE to the very end.
    """

    calls: int
    ended_by_caller: int
    ended_by_switch: int
    shortest_ms: int = field(default=0, compare=False)
    longest_ms: int = field(default=0, compare=False)

    def agrees(self, duration_ms: int, unseen_ms: int = 0) -> bool:
        """Whether a call may have lasted so long, of which callctl did not see the first `unseen_ms` at the most."""
        return self.shortest_ms - unseen_ms - APART_MS <= duration_ms <= self.longest_ms + APART_MS


class CallsFailed(RuntimeError):
    """SIPp's own words; `ended`: how many calls went as their scenario says all the same."""

    def __init__(self, said: str, ended: int) -> None:
        super().__init__(said)
        self.ended = ended


async def call_many(
    rig: AsteriskRig,
    address: str,
    number: str,
    *,
    calls: int,
    per_second: float,
    talk_s: float,
    caller: str = "+31201234567",
) -> Outcome:
    """Place `calls` calls from `address`, each talking `talk_s` unless the switch ends it before.

    CallsFailed if any call was refused or went wrong.
    """
    many = _many(number, caller, calls, per_second)
    values = {"@TALK_MS@": str(round(talk_s * 1000))}
    log = await _place("caller", values, rig, address, many, calls / per_second + talk_s)
    ended = re.findall(r"ended by (caller|switch) at (.+)", log)
    by = Counter(by for by, _ in ended)
    times_ms = [_in_ms(times) for _, times in ended]
    return Outcome(
        calls,
        ended_by_caller=by["caller"],
        ended_by_switch=by["switch"],
        shortest_ms=min(bye - answered for _, answered, bye, _ in times_ms),
        longest_ms=max(over - asked for asked, _, _, over in times_ms),
    )


async def expect_refusals(
    rig: AsteriskRig,
    address: str,
    number: str,
    *,
    status: int,
    calls: int = 1,
    per_second: float = 10,
    caller: str = "+31201234567",
) -> None:
    """Place `calls` calls from `address`; RuntimeError if one is not refused with `status`."""
    many = _many(number, caller, calls, per_second)
    await _place("refused", {"@STATUS@": str(status)}, rig, address, many, calls / per_second)


@contextlib.asynccontextmanager
async def carrier(rig: AsteriskRig, *, address: str = CARRIER_A, ring_s: float = 0.0) -> AsyncIterator[None]:
    """A carrier that answers every call after `ring_s` and never hangs up by itself."""
    with tempfile.TemporaryDirectory() as directory:
        values = {"@RING_MS@": str(round(ring_s * 1000))}
        command = _command("carrier", values, Path(directory), address)
        process = await _start([*command, "-p", str(rig.peer_port), "-aa"], Path(directory))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _place(
    scenario: str, values: dict[str, str], rig: AsteriskRig, address: str, many: list[str], duration_s: float
) -> str:
    """Run a calling scenario to its end; its log."""
    with tempfile.TemporaryDirectory() as directory:
        logs = ["-trace_logs", "-log_file", "calls.log", "-trace_err", "-error_file", "errors.log"]
        command = [*_command(scenario, values, Path(directory), address), *many, *logs]
        process = await _start([*command, f"{rig.host}:{rig.sip_port}"], Path(directory))
        try:
            await asyncio.wait_for(process.wait(), duration_s + GRACE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode != 0:
            said = _content(Path(directory, "errors.log"))[:2000]
            ended = _content(Path(directory, "calls.log")).count("ended by")
            raise CallsFailed(f"sipp {scenario}: status {process.returncode}\n{said}", ended)
        return _content(Path(directory, "calls.log"))


def _many(number: str, caller: str, calls: int, per_second: float) -> list[str]:
    rate = ["-r", str(max(1, round(per_second * 10))), "-rp", "10000"]  # per 10 s: the rate may be a fraction
    return ["-s", number, "-key", "caller", caller, "-m", str(calls), "-l", str(calls), *rate]


def _in_ms(times: str) -> list[int]:
    """SIPp's moments: each is seconds and microseconds."""
    numbers = [int(Decimal(number)) for number in times.split()]
    return [seconds * 1000 + us // 1000 for seconds, us in zip(numbers[::2], numbers[1::2], strict=True)]


def _content(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def _command(scenario: str, values: dict[str, str], directory: Path, address: str) -> list[str]:
    text = (SCENARIOS / f"{scenario}.xml").read_text()
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    (directory / "scenario.xml").write_text(text)
    return ["sipp", "-sf", "scenario.xml", "-i", address, "-mi", address, "-nostdin", "-buff_size", "1048576"]


async def _start(command: list[str], directory: Path) -> asyncio.subprocess.Process:
    if not shutil.which("sipp"):
        missing("SIPp", "sipp (Debian's sip-tester) is not installed")
    null = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(*mortal(command), cwd=directory, stdin=null, stdout=null, stderr=null)
