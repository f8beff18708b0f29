"""The manager interface over TLS, on a real Asterisk with a certificate of its own making."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from callctl.adapters.asterisk.link import AmiLink, LinkEvents
from tests.certificates import certify
from tests.e2e.provider import Provider
from tests.servers import HOST, free_port
from tests.switches.linked import SOON, gone, talking
from tests.switches.rig.asterisk import AsteriskRig
from tests.switches.sip.phone import Phone
from tests.waiting import until

CONFIG = """
[general](+)
tlsenable = yes
tlsbindaddr = {host}:{port}
tlscertfile = {directory}/ami.pem
"""
SWITCH = """
[[switch]]
name = "pbx1"
kind = "asterisk"
port = {port}
secret = "{secret}"
tls = true
tls_ca = "{certificate}"
"""


class Secured(msgspec.Struct):
    """Where Asterisk speaks TLS, and the certificate that it shows."""

    port: int
    certificate: Path


def serve(asterisk: AsteriskRig, directory: Path, address: str) -> Secured:
    """Have Asterisk speak TLS, as who answers at `address`."""
    certificate, key = certify(directory, "asterisk", address)
    port = free_port(socket.SOCK_STREAM)
    (asterisk.etc / "ami.pem").write_text(certificate.read_text() + key.read_text())
    with (asterisk.etc / "manager.local.conf").open("a") as config:
        config.write(CONFIG.format(host=HOST, port=port, directory=f"{asterisk.inside}/etc"))
    asterisk.cli("manager reload")
    return Secured(port, certificate)


@pytest.fixture
def untouched(asterisk: AsteriskRig) -> Iterator[None]:
    """Afterwards Asterisk speaks no TLS, as before."""
    config = asterisk.etc / "manager.local.conf"
    before = config.read_text()
    yield
    config.write_text(before)
    asterisk.cli("manager reload")


@pytest.fixture
def secured(asterisk: AsteriskRig, untouched: None, tmp_path: Path) -> Secured:
    return serve(asterisk, tmp_path, HOST)


@asynccontextmanager
async def linked(
    asterisk: AsteriskRig, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[tuple[AmiLink, list[str]]]:
    """A link that tries, and why it was down so far."""
    outages: list[str] = []
    events = LinkEvents(on_event=lambda _: None, on_down=outages.append)
    link = AmiLink(asterisk.host, port, asterisk.ami_user, asterisk.ami_secret, events, tls=tls, times=SOON)
    running = asyncio.create_task(link.run())
    try:
        yield link, outages
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_link_over_tls(asterisk: AsteriskRig, secured: Secured) -> None:
    trusting = ssl.create_default_context(cafile=secured.certificate)
    async with linked(asterisk, secured.port, trusting) as (link, outages):
        await until(lambda: link.up)
        assert (await link.action("Ping")).succeeded
        assert await link.query("Status") == []
    assert outages == []


async def test_a_certificate_that_nobody_vouches_for_gets_no_password(asterisk: AsteriskRig, secured: Secured) -> None:
    async with linked(asterisk, secured.port, ssl.create_default_context()) as (link, outages):
        await until(lambda: outages)
        assert "CERTIFICATE_VERIFY_FAILED" in outages[0]
        assert link.counts.connections == 0


@pytest.mark.usefixtures("untouched")
async def test_a_certificate_for_another_address_is_refused(asterisk: AsteriskRig, tmp_path: Path) -> None:
    secured = serve(asterisk, tmp_path, "192.0.2.1")
    trusting = ssl.create_default_context(cafile=secured.certificate)
    async with linked(asterisk, secured.port, trusting) as (link, outages):
        await until(lambda: outages)
        assert "IP address mismatch" in outages[0]
        assert link.counts.connections == 0


async def test_nobody_is_heard_in_the_clear_there(asterisk: AsteriskRig, secured: Secured) -> None:
    async with linked(asterisk, secured.port, None) as (link, outages):
        await until(lambda: outages)
        assert link.counts.connections == 0


async def test_a_call_with_the_whole_of_callctl(
    asterisk: AsteriskRig, secured: Secured, acme: Phone, carrier: Phone, tmp_path: Path
) -> None:
    config = SWITCH.format(port=secured.port, secret=asterisk.ami_secret, certificate=secured.certificate)
    home = tmp_path / "home"
    home.mkdir()
    async with Provider(home, more=config) as daemon:

        async def ready() -> bool:
            return (await daemon.ask("GET", "/readyz"))[0] == 200

        async def recorded() -> bool:
            return len(await daemon.cdrs()) == 1

        await daemon.until(ready)
        await daemon.furnish()
        call, _ = await talking(acme, carrier)
        await call.hang_up()
        await daemon.until(recorded)
        (cdr,) = await daemon.cdrs()
        assert (cdr["verdict"], cdr["released_by"]) == ("allowed", "caller")
    await gone(asterisk)
