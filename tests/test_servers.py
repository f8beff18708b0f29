"""The servers that the other tests break on purpose come back as they were."""

import asyncio
import shutil
import sys
from pathlib import Path

import aiomqtt
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import Mosquitto, RedisServer, missing, skipped_groups
from tests.waiting import until

ROOT = Path(__file__).parent.parent


@pytest.fixture(params=["redis_server", "valkey_server"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, RedisServer)
    return found


def client(server: RedisServer, timeout_s: float = 30) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))


def test_redis_keeps_its_data_over_a_stop(server: RedisServer) -> None:
    with client(server) as link:
        link.set("kept", "yes")
    server.stop()
    with client(server) as link, pytest.raises(redis.ConnectionError):
        link.ping()
    server.start()
    with client(server) as link:
        assert link.get("kept") == b"yes"
        link.flushall()


def test_a_frozen_redis_answers_again_when_resumed(server: RedisServer) -> None:
    with client(server) as link:
        assert link.ping()
        server.freeze()
        with client(server, timeout_s=0.2) as impatient, pytest.raises(redis.TimeoutError):
            impatient.ping()
        server.resume()
        assert link.ping()


async def test_mosquitto_delivers_and_comes_back(mosquitto: Mosquitto) -> None:
    for _ in range(2):
        async with aiomqtt.Client(mosquitto.host, mosquitto.port) as link:
            await link.subscribe("t")
            await link.publish("t", "hello", qos=1)
            assert (await anext(aiter(link.messages))).payload == b"hello"
        mosquitto.kill()
        mosquitto.start()


async def test_what_is_mortal_dies_with_whoever_started_it() -> None:
    if shutil.which("setpriv") is None:
        missing("a kernel that tells of a parent's death", "no setpriv")
    # The child does nothing that would end with its parent by itself, as reading from it would.
    parent = (
        "import subprocess, sys; from tests.servers import mortal;"
        "print(subprocess.Popen(mortal([sys.executable, '-c', 'import time; time.sleep(600)'])).pid, flush=True);"
        "sys.stdin.read()"
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdin=pipe, stdout=pipe, cwd=ROOT)
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    assert alive(child)
    process.kill()
    await process.wait()
    await until(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Whether there is such a process, and more of it than its corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_is_missing_fails_under_ci_and_is_named_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Tea is needed: no kettle"):
        missing("Tea", "no kettle")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no Tea: no kettle"):
        missing("Tea", "no kettle")
    assert skipped_groups.pop("Tea") == "no kettle"
