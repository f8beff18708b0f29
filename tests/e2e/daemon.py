"""`callctl run` as a process of its own, on the embedded Redis, in a directory of its own."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.command import CALLCTL
from tests.servers import free_port, mortal
from tests.waiting import PATIENCE_S, until

TOKEN = "0123456789abcdef0123456789abcdef"


class Daemon:
    """`callctl run` in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port(socket.SOCK_STREAM)
        self.process: asyncio.subprocess.Process | None = None
        self.settings: dict[str, str] = {}
        """Of its environment, above those of the file."""
        secret = home / "token"
        secret.write_text(f"{TOKEN}\n")
        secret.chmod(0o600)
        (home / "config").mkdir()
        (home / "config/callctl.toml").write_text(
            f'[http]\nport = {self.port}\n[[http.token]]\nname = "ops"\ntoken_file = "token"\n'
            'scopes = ["call", "read", "admin"]\n[[sink]]\nname = "billing"\nkind = "file"\ndirectory = "cdr"\n'
        )

    async def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            environment = {**os.environ, **self.settings}
            self.process = await asyncio.create_subprocess_exec(
                *mortal([CALLCTL, "run"]), cwd=self.home, env=environment, stdout=log, stderr=log
            )
        await until(self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    if daemon.process is not None and daemon.process.returncode is None:
        daemon.process.kill()
        await daemon.process.wait()
