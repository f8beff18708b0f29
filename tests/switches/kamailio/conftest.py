"""The real Kamailio, one for the whole run, and the phones around it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.switches.kamailio.contract_rig import LOCAL, ROUTES
from tests.switches.kamailio.desk import Desk
from tests.switches.kamailio.relay import Relay
from tests.switches.rig.asterisk import ACME, CARRIER_A, CARRIER_B
from tests.switches.rig.kamailio import KamailioRig
from tests.switches.sip.phone import Phone


@pytest.fixture(scope="session")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KamailioRig]:
    """Debian's Kamailio with the shipped configuration."""
    rig = KamailioRig(tmp_path_factory.mktemp("kamailio"))
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


@pytest.fixture(scope="module")
def suited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KamailioRig]:
    """A Kamailio whose customers say who they are."""
    rig = KamailioRig(tmp_path_factory.mktemp("suited"), more=LOCAL, routes=ROUTES)
    try:
        rig.start()
        yield rig
    finally:
        rig.stop()


@pytest.fixture
async def acme(kamailio: KamailioRig) -> AsyncIterator[Phone]:
    """The phone of the customer acme."""
    async with Phone(ACME, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None) as phone:
        yield phone


@pytest.fixture
async def carrier(kamailio: KamailioRig) -> AsyncIterator[Phone]:
    """The first carrier, answering at once."""
    async with Phone(CARRIER_A, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None) as phone:
        phone.answer_calls()
        yield phone


@pytest.fixture
async def second_carrier(kamailio: KamailioRig) -> AsyncIterator[Phone]:
    """The second one, answering at once."""
    async with Phone(CARRIER_B, kamailio.sip_address, port=kamailio.peer_port, tone_hz=None) as phone:
        phone.answer_calls()
        yield phone


@pytest.fixture
async def relay(kamailio: KamailioRig) -> AsyncIterator[Relay]:
    """The way to Kamailio, on which messages may be lost, and the whole link."""
    async with Relay(kamailio.host, kamailio.link_port) as relay:
        yield relay


@pytest.fixture
async def desk(kamailio: KamailioRig, relay: Relay) -> AsyncIterator[Desk]:
    """Our adapter alone, linked, and all that it reports."""
    async with Desk(kamailio, relay) as desk:
        yield desk
