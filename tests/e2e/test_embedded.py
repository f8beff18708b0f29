"""The embedded server for real: processes, sockets, locks, and kill -9 of either side."""

import asyncio
import os
import signal
import stat
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from callctl.clock import SystemClock
from callctl.errors import ConfigError
from callctl.store import embedded
from callctl.store.embedded import EmbeddedRedis
from tests.servers import mortal
from tests.waiting import PATIENCE_S, until

OWNER = """
    import asyncio, sys
    from pathlib import Path
    from callctl.clock import SystemClock
    from callctl.store.embedded import EmbeddedRedis

    async def main():
        {before}
        server = EmbeddedRedis(Path(sys.argv[1]), SystemClock())
        print(await server.start(), server.pid, file=sys.stderr, flush=True)
        await asyncio.sleep(3600)

    asyncio.run(main())
"""


def gone(pid: int) -> bool:
    """No such process, or only its corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@asynccontextmanager
async def owner_process(
    data_dir: Path, before: str = "pass"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str, int]]:
    """Another callctl with its embedded server: its process, the URL, the server's process id."""
    code = textwrap.dedent(OWNER.format(before=before))
    process = await asyncio.create_subprocess_exec(
        *mortal([sys.executable, "-c", code, data_dir]),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            url, pid = (await process.stderr.readline()).decode().split()
        yield process, url, int(pid)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, decode_responses=True)
    try:
        yield redis
    finally:
        await redis.aclose()


async def read(url: str, key: str) -> str | None:
    async with client(url) as redis:
        return await redis.get(key)


async def test_it_is_a_durable_server_that_only_its_owner_can_reach(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path / "var", SystemClock()) as url, client(url) as redis:
        expected = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "save": "",
        }
        assert await redis.config_get(*expected) == expected
        home = tmp_path / "var" / "redis"
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE((home / "redis.sock").stat().st_mode) == 0o700


async def test_stopped_and_started_it_has_what_it_had(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, SystemClock())
    async with client(await server.start()) as redis:
        await redis.set("balance", "10")
    pid = server.pid
    await server.stop()
    assert server.pid is None
    assert pid is not None
    assert gone(pid)
    async with EmbeddedRedis(tmp_path, SystemClock()) as url:
        assert await read(url, "balance") == "10"


@pytest.mark.parametrize("name", ["with 'quotes' and spaces", "deep/" * 30])
async def test_any_directory_will_do(tmp_path: Path, name: str) -> None:
    async with EmbeddedRedis(tmp_path / name, SystemClock()) as url, client(url) as redis:
        assert await redis.ping()
        assert (await redis.config_get("dir"))["dir"] == str(tmp_path / name / "redis")
        socket_dir = Path((await redis.config_get("unixsocket"))["unixsocket"]).parent
    if socket_dir != tmp_path / name / "redis":
        assert not socket_dir.exists()


async def test_one_data_directory_has_one_owner(tmp_path: Path) -> None:
    async with EmbeddedRedis(tmp_path, SystemClock()) as url:
        with pytest.raises(ConfigError, match=rf"in use by callctl with process id {os.getpid()}\b"):
            await EmbeddedRedis(tmp_path, SystemClock()).start()
        async with client(url) as redis:
            assert await redis.ping()


async def test_a_server_killed_with_kill_9_comes_back_with_its_data(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, SystemClock())
    url = await server.start()
    try:
        for killed in range(3):
            async with client(url) as redis:
                await redis.set(f"before {killed}", "kept")
            pid = server.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: server.pid not in (None, pid))
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        assert await read(url, f"before {killed}") == "kept"
                        break
                    except RedisConnectionError:
                        await asyncio.sleep(0.01)
    finally:
        await server.stop()


async def test_the_server_ends_when_callctl_is_killed_with_kill_9_and_nothing_is_lost(tmp_path: Path) -> None:
    async with owner_process(tmp_path) as (owner, url, pid):
        async with client(url) as redis:
            await redis.set("balance", "10")
        owner.kill()
        await until(lambda: gone(pid))
    async with EmbeddedRedis(tmp_path, SystemClock()) as url:
        assert await read(url, "balance") == "10"


async def test_a_server_that_is_still_ending_is_waited_for(tmp_path: Path) -> None:
    async with owner_process(tmp_path) as (owner, url, pid):
        async with client(url) as redis:
            await redis.set("balance", "10")
        os.kill(pid, signal.SIGSTOP)
        owner.kill()
        await owner.wait()
        server = EmbeddedRedis(tmp_path, SystemClock())
        starting = asyncio.create_task(server.start())
        await until(lambda: (tmp_path / "redis" / "owner.lock").read_text() == f"{os.getpid()}\n")
        assert not starting.done()
        os.kill(pid, signal.SIGCONT)
        try:
            assert await read(await starting, "balance") == "10"
        finally:
            await server.stop()


async def test_a_server_that_outlives_its_callctl_is_ended_and_replaced(tmp_path: Path) -> None:
    untied = "import callctl.store.embedded as e; e._end_with_parent = lambda: None"
    async with owner_process(tmp_path, before=untied) as (owner, url, pid):
        async with client(url) as redis:
            await redis.set("balance", "10")
        owner.kill()
        await owner.wait()
        assert await read(url, "balance") == "10"  # an orphan, alive
        async with EmbeddedRedis(tmp_path, SystemClock()) as url_now:
            assert gone(pid)
            assert await read(url_now, "balance") == "10"


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    manifest = tmp_path / "redis" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("nonsense\n")
    server = EmbeddedRedis(tmp_path, SystemClock())
    with pytest.raises(ConfigError, match=r"does not start: .*manifest"):
        await server.start()
    manifest.unlink()
    async with client(await server.start()) as redis:
        assert await redis.ping()
    await server.stop()


async def test_a_data_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    with pytest.raises(ConfigError, match=r"redis\.data_dir: .*cannot be used"):
        await EmbeddedRedis(tmp_path / "var", SystemClock()).start()


async def test_a_directory_whose_lock_cannot_be_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "redis" / "owner.lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"redis\.data_dir: .*cannot be used"):
        await EmbeddedRedis(tmp_path, SystemClock()).start()


def no_wheel() -> Path:
    raise embedded.ValkeyBinaryNotFoundError("none for this machine")


async def test_without_the_wheel_a_server_from_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = embedded.get_binary_path()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(real)
    monkeypatch.setattr(embedded, "get_binary_path", no_wheel)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    async with EmbeddedRedis(tmp_path / "var", SystemClock()) as url, client(url) as redis:
        assert await redis.ping()


async def test_without_any_server_program_the_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "get_binary_path", no_wheel)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no server program: none for this machine"):
        await EmbeddedRedis(tmp_path / "var", SystemClock()).start()


async def test_a_frozen_server_is_killed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_END_MS", 50)
    server = EmbeddedRedis(tmp_path, SystemClock())
    await server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await server.stop()
    assert gone(pid)
