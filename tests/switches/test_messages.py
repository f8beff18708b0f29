"""A text message on a real Asterisk that has all of Debian's modules is none of callctl's business, and no call."""

from collections.abc import Iterator

import pytest

from tests.switches.linked import NUMBER
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.rig.manager import Manager
from tests.switches.sip.message import Message
from tests.switches.sip.phone import Phone
from tests.waiting import until


@pytest.fixture(autouse=True)
def messaging(asterisk: AsteriskRig) -> Iterator[None]:
    asterisk.cli("module load res_pjsip_messaging.so")
    yield
    asterisk.cli("module unload res_pjsip_messaging.so")


@pytest.mark.parametrize("number", ["112", NUMBER])
async def test_a_message_is_no_call(acme: Phone, carrier: Phone, gate: Manager, number: str) -> None:
    answers: list[Message] = []
    acme.datagram_received = lambda data, _: answers.append(Message.parse(data))
    host, port = acme.switch
    headers = (
        ("via", acme.via()),
        ("from", f"<sip:+31201234567@{acme.address}>;tag=1"),
        ("to", f"<sip:{number}@{host}>"),
        ("call-id", f"text-{number}"),
        ("cseq", "1 MESSAGE"),
        ("max-forwards", "70"),
        ("content-type", "text/plain"),
    )
    acme.send(Message(f"MESSAGE sip:{number}@{host}:{port} SIP/2.0", headers, "hello"))
    await until(lambda: answers)
    assert answers[0].status == 404
    await gate.ask("Ping")
    assert gate.events == []
    assert not carrier.calls
