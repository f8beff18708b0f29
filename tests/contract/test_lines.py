"""What all links to switches have in common, at a port where nothing listens."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from callctl.adapters.asterisk.link import AmiLink
from callctl.adapters.asterisk.link import LinkEvents as AmiEvents
from callctl.adapters.freeswitch.link import EslLink
from callctl.adapters.freeswitch.link import LinkEvents as EslEvents
from callctl.adapters.kamailio.link import EvapiLink
from callctl.adapters.kamailio.link import LinkEvents as EvapiEvents
from callctl.adapters.line import Line
from callctl.clock import SystemClock
from tests.servers import HOST, free_port
from tests.waiting import until

DOCKER = Path(__file__).parents[2] / "docker"


class NotedClock(SystemClock):
    """Sleeps for as short as can be, and notes for how long it was to."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses_ms: list[int] = []

    async def sleep_ms(self, ms: int) -> None:
        self.pauses_ms.append(ms)
        await asyncio.sleep(0)


def to_asterisk(port: int, clock: NotedClock) -> Line:
    return AmiLink(HOST, port, "callctl", "s3cret", AmiEvents(on_event=print), clock=clock)


def to_freeswitch(port: int, clock: NotedClock) -> Line:
    return EslLink(HOST, port, "s3cret", EslEvents(on_event=print), clock=clock)


def to_kamailio(port: int, clock: NotedClock) -> Line:
    return EvapiLink(HOST, port, "s3cret", EvapiEvents(on_event=print), clock=clock)


@pytest.mark.parametrize(
    ("link", "shipped", "waits", "unit_ms"),
    [
        (to_asterisk, "asterisk/extensions.conf", r"^CC_GATE_SECONDS = (\d+)$", 1_000),
        (to_freeswitch, "freeswitch/callctl.dialplan.xml", r"park_timeout=(\d+):", 1_000),
        (to_kamailio, "kamailio/kamailio.cfg", r"^#!define GATE_MS (\d+)$", 1),
    ],
)
async def test_after_a_long_outage_the_link_is_back_before_a_call_at_the_gate_gives_up(
    link: Callable[[int, NotedClock], Line], shipped: str, waits: str, unit_ms: int
) -> None:
    clock = NotedClock()
    running = asyncio.create_task(link(free_port(socket.SOCK_STREAM), clock).run())
    await until(lambda: len(clock.pauses_ms) >= 40)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    (gate,) = set(re.findall(waits, (DOCKER / shipped).read_text(), re.MULTILINE))
    assert max(clock.pauses_ms) < int(gate) * unit_ms / 2
    assert clock.pauses_ms[0] < min(clock.pauses_ms[-20:])
