"""Accounting by the real Kamailio's acc_radius: it tells no length of a call, and failed calls in a way of its own.

It cannot ask for a call in a way that callctl answers; calls are asked for on its behalf, by their Call-ID.
"""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callctl.adapters.radius.server import Places
from callctl.adapters.radius.switch import RadiusSwitch
from callctl.adapters.radius.wire import Client
from callctl.clock import SystemClock
from tests.contract.nas import ACCEPT, Nas
from tests.control_room import EURO, PER_SECOND, ControlRoom
from tests.radius_packets import SECRET
from tests.servers import HOST, free_port, missing
from tests.switches.exactness import APART_MS
from tests.switches.linked import answered
from tests.switches.rig.proxy import CALLER, CARRIER, SipServer
from tests.switches.sip.phone import Phone
from tests.waiting import until

NUMBER = "+31612345678"
CONFIG = """#!KAMAILIO
listen=udp:@HERE@
children=2
log_stderror=yes
disable_tcp=yes
auto_aliases=no
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "acc.so"
loadmodule "acc_radius.so"
modparam("acc_radius", "radius_config", "@DIRECTORY@/radius.conf")
modparam("acc_radius", "radius_flag", 1)
modparam("acc_radius", "radius_missed_flag", 2)
request_route {
    if (is_method("CANCEL")) {
        if (t_check_trans()) t_relay();
        exit;
    }
    setflag(1);
    setflag(2);
    if (has_totag()) {
        if (loose_route()) t_relay();
        else if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }
    if (!is_method("INVITE")) {
        sl_send_reply("405", "Method Not Allowed");
        exit;
    }
    record_route();
    $du = "sip:@CARRIER@";
    t_relay();
}
"""


class AccountingProxy(SipServer):
    """Kamailio that reports to `acct_port`."""

    def __init__(self, directory: Path, acct_port: int) -> None:
        super().__init__(directory)
        modules = Path("/usr/lib").glob("*/kamailio/modules/acc_radius.so")
        if not any(modules) or not Path("/etc/radcli/dictionary").exists():
            missing("Kamailio's acc_radius", "kamailio-radius-modules is not installed")
        self.acct_port = acct_port

    def config(self) -> str:
        (self.directory / "servers").write_text(f"{HOST} {SECRET.decode()}\n")
        (self.directory / "dictionary").write_text(
            "$INCLUDE /etc/radcli/dictionary\n$INCLUDE /etc/radcli/dictionary.sip\n"
            "VALUE Acct-Status-Type Failed 15\nVALUE Service-Type Sip-Session 15\n"
            "$INCLUDE /etc/kamailio/dictionary.kamailio\n"
        )
        (self.directory / "radius.conf").write_text(
            f"authserver {HOST}:{self.acct_port}\nacctserver {HOST}:{self.acct_port}\n"
            f"servers {self.directory}/servers\ndictionary {self.directory}/dictionary\n"
            "radius_timeout 1\nradius_retries 2\n"
        )
        text = CONFIG.replace("@HERE@", f"{self.host}:{self.sip_port}")
        text = text.replace("@CARRIER@", f"{CARRIER}:{self.peer_port}")
        return text.replace("@DIRECTORY@", str(self.directory))


class Bench:
    """The proxy, a phone, a carrier, and call control that is told of their calls by RADIUS."""

    def __init__(self, room: ControlRoom, nas: Nas, caller: Phone, carrier: Phone) -> None:
        self.room = room
        self.nas = nas
        self.caller = caller
        self.carrier = carrier

    async def allowed(self, call_id: str) -> None:
        assert (await self.nas.ask(call_id))[0] == ACCEPT

    async def recorded(self) -> dict:
        await until(lambda: self.room.cdrs() and not self.room.calls.live())
        (cdr,) = self.room.cdrs()
        return cdr


@pytest.fixture
async def bench(room: ControlRoom, tmp_path: Path) -> AsyncIterator[Bench]:
    acct_port = free_port(socket.SOCK_DGRAM)
    proxy = AccountingProxy(tmp_path, acct_port)
    client = Client(HOST, SECRET)
    gateway = RadiusSwitch(name="gw", places=Places(HOST, 0, acct_port), clients=[client], clock=SystemClock())
    await room.furnish()
    await room.start(gateway)
    await until(lambda: gateway.state().up)
    phones = [
        Phone(address, (HOST, proxy.sip_port), port=proxy.peer_port, tone_hz=None) for address in (CALLER, CARRIER)
    ]
    try:
        proxy.start()
        async with phones[0] as caller, phones[1] as carrier, Nas(*gateway.ports) as nas:
            yield Bench(room, nas, caller, carrier)
    finally:
        proxy.kill()


async def test_a_call_is_as_long_as_from_its_start_to_its_stop(bench: Bench) -> None:
    bench.carrier.answer_calls()
    await bench.allowed("a-call@phone")
    call = await bench.caller.call(NUMBER, call_id="a-call@phone")
    await call.until_answered()
    answer = (await answered(bench.room)).answered
    assert answer is not None
    await until(lambda: bench.room.clock.now().since_ms(answer) > 1_500)
    await call.hang_up()
    cdr = await bench.recorded()
    assert (cdr["call_id"], cdr["estimated"]) == (f"a-call@phone@{HOST}", False)
    # By Kamailio's Event-Timestamps, which are whole seconds.
    assert cdr["duration_ms"] % 1_000 == 0
    assert abs(cdr["duration_ms"] - call.talked_s * 1_000) <= 1_000 + APART_MS
    balance = await bench.room.balance()
    assert (balance.balance, balance.held) == (10 * EURO - cdr["billed_s"] * PER_SECOND, 0)


async def test_a_call_that_fails_costs_nothing(bench: Bench) -> None:
    bench.carrier.refuse_calls(486)
    await bench.allowed("busy@phone")
    call = await bench.caller.call(NUMBER, call_id="busy@phone")
    await call.until_ended()
    cdr = await bench.recorded()
    assert (cdr["charge"], cdr["sip_code"], cdr["answer_time"]) == ("0.0000", 486, None)
