"""`callctl run` as a process of its own on the embedded Redis, worked with by other `callctl` commands."""

import json
import socket
from pathlib import Path

import redis

from tests.e2e.command import callctl
from tests.e2e.daemon import TOKEN, Daemon
from tests.e2e.provider import Provider
from tests.servers import RedisServer


async def test_a_day_of_an_operator(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.start()

    async def run(*arguments: str, stdin: str = "", status: int = 0) -> str:
        done = await callctl(*arguments, cwd=tmp_path, stdin=stdin)
        assert done.status == status, done
        return done.out

    (tmp_path / "deck.csv").write_text("prefix,destination,per_minute\n31,Netherlands,0.08\n")
    await run("tariff", "put", "-", stdin='{"id": "retail"}')
    await run("tariff", "import", "retail", "deck.csv")
    await run("account", "put", "-", stdin='{"id": "acme", "kind": "prepaid", "plan": "retail"}')
    call = ("explain", "--account", "acme", "--to", "+31612345678")
    assert "no_credit" in await run(*call, status=1)
    await run("account", "topup", "acme", "1.00")
    assert (await run(*call)).startswith("allowed")
    assert "0.0800 EUR" in await run("rate", "--plan", "retail", "--to", "+31612345678", "--seconds", "60")
    assert json.loads(await run("account", "show", "acme", "--json"))["balance"] == "1.0000"
    report = {it["check"]: it for it in json.loads(await run("doctor", "--json"))}
    assert report["redis eviction"]["verdict"] == "fine"
    assert report["sink billing"]["verdict"] == "fine"
    assert "about the last second" in report["redis loss"]["detail"]
    assert await daemon.stop() == 0
    assert TOKEN not in daemon.log
    assert "Traceback" not in daemon.log
    assert all(json.loads(line) for line in daemon.log.splitlines()), "one JSON object a line"


async def test_a_second_daemon_in_the_same_place_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.start()
    second = await callctl("run", cwd=tmp_path)
    assert second.status == 3
    assert "in use by callctl with process id" in second.err


async def test_a_port_that_is_taken_is_told(daemon: Daemon, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", daemon.port)):
        done = await callctl("run", cwd=tmp_path)
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith(f"callctl: cannot listen on 127.0.0.1:{daemon.port}: ")
    assert "Traceback" not in done.err


async def test_doctor_without_a_daemon(daemon: Daemon, tmp_path: Path) -> None:
    daemon.home.joinpath("config/callctl.toml").write_text(
        f'[[switch]]\nname = "pbx1"\nkind = "asterisk"\nport = {daemon.port}\nsecret = "s"\n'
    )
    done = await callctl("doctor", cwd=tmp_path)
    assert done.status == 1
    lines = {line[2:].split("  ")[0]: line[0] for line in done.out.splitlines()}
    assert lines == {
        "configuration": "!", "redis.data_dir": "✓", "redis": "✓", "daemon": "!", "switch pbx1": "✗",
    }  # fmt: skip


async def test_doctor_sees_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "c.toml").write_text('[[sink]]\nname = "billing"\nkind = "file"\ndirectory = "file/cdr"\n')
    report = (await callctl("doctor", "-c", "c.toml", "--json", cwd=tmp_path)).json
    (finding,) = [it for it in report if it["check"] == "sink billing"]
    assert finding["verdict"] == "failed"


async def test_doctor_of_a_configured_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[redis]\nurl = "{redis_server.url}"\n')
    report = {it["check"]: it for it in (await callctl("doctor", "-c", "c.toml", "--json", cwd=tmp_path)).json}
    assert report["redis eviction"]["verdict"] == "fine"
    assert report["redis version"]["detail"].startswith("Redis ")


async def test_doctor_puts_right_what_is_held_and_in_use(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as link:
        link.flushall()
        async with Provider(tmp_path, redis_url=redis_server.url) as provider:
            await provider.furnish()
            await provider.good("PUT", "/v1/trunks/t1", {"account": "acme", "caps": {"outbound": 4}})
            await provider.call("c1", trunk="t1")
            right = await provider.account()
            assert right["channels"]["outbound"] == 1
            sound = await callctl("doctor", "--recount", cwd=tmp_path)
            assert "✓ recount" in sound.out
            link.hset("{acme}:a:acme", mapping={"held": 7, "outbound": 3})
            link.hset("{acme}:t:t1", "outbound", 0)
            done = await callctl("doctor", "--recount", cwd=tmp_path)
            assert done.status == 0
            told = [line for line in done.out.splitlines() if line.startswith("! recount")]
            assert len(told) == 3, done.out
            assert any(line.endswith("{acme}:t:t1 outbound: 0 put right to 1") for line in told)
            assert await provider.account() == right
        link.flushall()


async def test_a_recount_needs_a_server(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("")
    done = await callctl("doctor", "-c", "c.toml", "--recount", cwd=tmp_path)
    assert done.status == 1
    assert "✗ recount" in done.out
    (tmp_path / "c.toml").write_text('[redis]\nurl = "redis://127.0.0.1:9/0"\n')
    done = await callctl("doctor", "-c", "c.toml", "--recount", cwd=tmp_path)
    assert done.status == 1
    assert "✗ recount" in done.out


async def test_doctor_of_a_redis_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[redis]\nurl = "redis://:hush@127.0.0.1:9/0"\n')
    done = await callctl("doctor", "-c", "c.toml", cwd=tmp_path)
    assert done.status == 1
    assert "✗ redis" in done.out
    assert "hush" not in done.out
