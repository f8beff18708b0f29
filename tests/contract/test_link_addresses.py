"""Where the link connects to: every form of address, passwords, Unix sockets, TLS."""

import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from callctl.errors import ConfigError, StoreUnavailable
from callctl.store.address import Address, parse_address
from callctl.store.link import Link
from tests.contract.links import QUICK, linked
from tests.servers import free_port


async def test_database_and_password(server):
    async with linked(server.url) as link:
        await link.call("ACL", "SETUSER", "callctl", "on", ">s3cr@t/", "~*", "+@all")
        await link.call("CONFIG", "SET", "requirepass", "pa:ss")
    async with linked(f"redis://callctl:s3cr%40t%2F@127.0.0.1:{server.port}/3") as link:
        await link.call("SET", "k", "in 3")
    async with linked(f"redis://:pa%3Ass@127.0.0.1:{server.port}") as link:
        assert await link.call("GET", "k") is None
        await link.call("SELECT", 3)
        assert await link.call("GET", "k") == b"in 3"


@pytest.mark.parametrize(
    ("user", "words"), [("", "NOAUTH"), (":wrong-pass@", "WRONGPASS"), ("nobody:wrong-pass@", "WRONGPASS")]
)
async def test_a_wrong_password_is_said_but_not_shown(server, user, words):
    async with linked(server.url) as link:
        await link.call("CONFIG", "SET", "requirepass", "right-pass")
    link = Link(parse_address(f"redis://{user}127.0.0.1:{server.port}"), times=QUICK)
    with pytest.raises(StoreUnavailable, match=words) as raised:
        await link.open()
    await link.close()
    assert "wrong-pass" not in f"{raised.value!r} {link.state()} {link.address}"


async def test_a_unix_socket(server, tmp_path):
    server.stop()
    path = tmp_path / "redis socket"
    plain = server.command()
    server.command = lambda: [*plain, "--unixsocket", str(path)]
    server.start()
    async with linked(f"unix://{path}".replace(" ", "%20") + "?db=2") as link:
        assert await link.call("PING") == b"PONG"


async def test_tls(server, tmp_path):
    _self_signed(tmp_path)
    server.stop()
    plain, tls_port = server.command(), server.port
    tls = ["--tls-port", str(tls_port), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]
    server.command = lambda: [*plain, "--port", str(server.port), *tls, "--tls-auth-clients", "no"]
    server.port = free_port(socket.SOCK_STREAM)
    server.start()
    trusted = f"rediss://localhost:{tls_port}?ssl_ca_certs={tmp_path}/cert.pem"
    async with linked(trusted) as link:
        assert await link.call("ECHO", b"x" * 100_000) == b"x" * 100_000
    link = Link(parse_address(f"rediss://localhost:{tls_port}"), times=QUICK)
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        await link.open()
    await link.close()


def _self_signed(directory: Path) -> None:
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *name, *files],
        cwd=directory,
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", Address()),
        ("redis://db1", Address(host="db1")),
        ("redis://db1:7000/4", Address(host="db1", port=7000, db=4)),
        ("redis://:p%40ss@db1", Address(host="db1", password="p@ss")),
        ("redis://me:p@[::1]:7000", Address(host="::1", port=7000, username="me", password="p")),
        ("unix:///run/redis.sock?db=2", Address(path="/run/redis.sock", db=2)),
    ],
)
def test_urls(url, address):
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "db1:6379",
        "http://db1",
        "redis://:secret@db1/x",
        "redis://:secret@db1:port",
        "redis://db1/-1",
        "redis://[::1",
        "redis://db1?ssl_ca_certs=x",
        "redis://:secret@db1?what=1",
        "unix:///run/r?db=x",
    ],
)
def test_wrong_urls_are_refused_without_showing_them(url):
    with pytest.raises(ConfigError, match=r"redis\.url: expected redis://") as raised:
        parse_address(url)
    assert "secret" not in str(raised.value)


def test_an_authority_that_cannot_be_read():
    with pytest.raises(ConfigError, match="ssl_ca_certs"):
        parse_address("rediss://db1?ssl_ca_certs=/does/not/exist")


def test_tls_trusts_the_system_by_default():
    context = parse_address("rediss://db1").tls
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
