"""The API over TLS, and what stops a start: `callctl run` as a process of its own."""

import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import certify
from tests.e2e.command import callctl
from tests.e2e.daemon import TOKEN, Daemon


def speak_tls(daemon: Daemon, certificate: str, key: str) -> None:
    config = daemon.home / "config/callctl.toml"
    files = f'[http]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    config.write_text(config.read_text().replace("[http]\n", files))


async def test_the_api_over_tls(daemon: Daemon, tmp_path: Path) -> None:
    certify(tmp_path, "callctl")
    speak_tls(daemon, "callctl.crt", "callctl.key")
    await daemon.start()
    trusting = ssl.create_default_context(cafile=tmp_path / "callctl.crt")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(f"https://127.0.0.1:{daemon.port}", headers=headers) as client:
        async with client.get("/v1/calls", ssl=trusting) as answer:
            assert (answer.status, await answer.json()) == (200, {"calls": [], "total": 0})
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await client.get("/v1/calls")
    with socket.create_connection(("127.0.0.1", daemon.port)) as plain:
        plain.settimeout(10)
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: callctl\r\n\r\n")
        assert not plain.recv(1024).startswith(b"HTTP/"), "nobody is served in the clear"
    assert await daemon.stop() == 0


async def test_the_command_line_trusts_the_configured_certificate_alone(daemon: Daemon, tmp_path: Path) -> None:
    certify(tmp_path, "callctl")
    certify(tmp_path, "other")
    speak_tls(daemon, "callctl.crt", "callctl.key")
    await daemon.start()
    for certificate, status in {"callctl.crt": 0, "other.crt": 4, "token": 3, "none.crt": 3}.items():
        done = await callctl("calls", cwd=tmp_path, CALLCTL_HTTP__TLS_CERTIFICATE=certificate)
        assert (done.status, "Traceback" in done.err) == (status, False), done


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("none.crt", "callctl.key", "No such file or directory"),
        ("callctl.crt", "none.key", "No such file or directory"),
        ("callctl.crt", "other.key", "not PEM, or not a pair"),
        ("token", "callctl.key", "not PEM, or not a pair"),
    ],
)
async def test_a_wrong_certificate_or_key_stops_the_start(
    daemon: Daemon, tmp_path: Path, certificate: str, key: str, reason: str
) -> None:
    certify(tmp_path, "callctl")
    certify(tmp_path, "other")
    speak_tls(daemon, certificate, key)
    done = await callctl("run", cwd=tmp_path)
    assert done.status == 3
    assert done.err.splitlines()[-1] == (f"callctl: http.tls_certificate: {certificate} with tls_key {key}: {reason}")
