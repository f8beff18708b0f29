"""What stops a start or delays it: each is one clear line, and a status that says whose fault it is."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.e2e.command import CALLCTL, callctl
from tests.e2e.daemon import Daemon
from tests.servers import mortal
from tests.waiting import PATIENCE_S, until

REDIS_AWAY = '[redis]\nurl = "redis://127.0.0.1:9/0"\n'
TLS_SWITCH = '[[switch]]\nname = "pbx1"\nkind = "asterisk"\nsecret = "s"\ntls = true\ntls_ca = "{}"\n'


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('[redis]\ndata_dir = "file"\n', "redis.data_dir: "),
        (REDIS_AWAY + 'data_dir = "file"\n', "redis.data_dir: the journal cannot be kept: "),
        ('[redis]\nurl = "http://127.0.0.1/0"\n', "redis.url: expected redis://"),
        (TLS_SWITCH.format("none.pem"), "switch pbx1.tls_ca: none.pem: No such file or directory"),
        (TLS_SWITCH.format("file"), "switch pbx1.tls_ca: file: not PEM, or not a pair"),
    ],
)
async def test_a_setting_that_cannot_be_followed(tmp_path: Path, config: str, said: str) -> None:
    (tmp_path / "file").write_text("no directory, no certificate")
    (tmp_path / "c.toml").write_text(config)
    done = await callctl("run", "-c", "c.toml", cwd=tmp_path)
    assert done.status == 3
    assert done.err.splitlines()[-1].startswith(f"callctl: {said}")
    assert "Traceback" not in done.err


async def test_an_address_that_is_not_ours(daemon: Daemon, tmp_path: Path) -> None:
    done = await callctl("run", cwd=tmp_path, CALLCTL_HTTP__HOST="192.0.2.1")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith(f"callctl: cannot listen on 192.0.2.1:{daemon.port}: ")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_a_redis_that_is_away_is_waited_for_until_told_to_stop(tmp_path: Path, ending: signal.Signals) -> None:
    (tmp_path / "c.toml").write_text(REDIS_AWAY)
    log = tmp_path / "log"
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *mortal([CALLCTL, "run", "-c", "c.toml"]), cwd=tmp_path, stdout=written, stderr=written
        )
    try:
        await until(lambda: log.read_text().count("waiting_for_the_store") >= 1)
        process.send_signal(ending)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in log.read_text()
