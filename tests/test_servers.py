"""The servers that the other tests break on purpose come back as they were."""

import aiomqtt
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import Mosquitto, RedisServer, missing, skipped_groups


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


def test_what_is_missing_fails_under_ci_and_is_named_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Tea is needed: no kettle"):
        missing("Tea", "no kettle")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no Tea: no kettle"):
        missing("Tea", "no kettle")
    assert skipped_groups.pop("Tea") == "no kettle"
