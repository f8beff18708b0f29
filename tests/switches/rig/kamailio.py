"""A real Kamailio on loopback, with the configuration that ships in docker/kamailio/."""

import contextlib
import os
import shutil
import socket
import time
from pathlib import Path
from signal import SIGKILL, SIGTERM

from tests.servers import HOST, STOP_S, Server, free_port, hang, missing
from tests.switches.rig.asterisk import ACME, CARRIER_A, CARRIER_B, GLOBEX, STRANGER

SHIPPED = Path(__file__).parents[3] / "docker" / "kamailio"
PEERS = [ACME, GLOBEX, STRANGER, CARRIER_A, CARRIER_B]
LINK_SECRET = "link-secret"


class KamailioRig(Server):
    """One Kamailio, in a process namespace of its own: whatever ends it ends all of its processes.

    Ports are free ones, and stay the same over stop() and start(). Peers are told apart by their loopback address and
    all answer on `peer_port`. `more` goes into callctl-local.cfg, `routes` into callctl-routes.cfg.
    """

    def __init__(self, directory: Path, *, config: str = "kamailio.cfg", more: str = "", routes: str = "") -> None:
        """Write the configuration below `directory`; nothing runs yet."""
        if os.geteuid() != 0 or not shutil.which("kamailio"):
            missing("Kamailio", "it needs root and Debian's kamailio")
        super().__init__(directory)
        self.host = HOST
        self.link_port = free_port(socket.SOCK_STREAM)
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.peer_port = free_port(socket.SOCK_DGRAM, PEERS)
        self.sip_address = (self.host, self.sip_port)
        self._config = config
        directory.mkdir(exist_ok=True)
        for source in SHIPPED.glob("*.cfg"):
            shutil.copy(source, directory)
        (directory / "callctl-local.cfg").write_text(self._local() + more)
        (directory / "callctl-routes.cfg").write_text(routes.format(port=self.peer_port))
        (directory / "dispatcher.list").write_text(
            f"1 sip:{CARRIER_A}:{self.peer_port} 0 10 name=carrier-a\n"
            f"1 sip:{CARRIER_B}:{self.peer_port} 0 5 name=carrier-b\n"
        )

    def _local(self) -> str:
        return (
            f"#!define LISTEN udp:{self.host}:{self.sip_port}\n"
            f'#!define LINK "{self.host}:{self.link_port}"\n'
            f'#!define LINK_SECRET "{LINK_SECRET}"\n'
            f'#!define CARRIERS "{self.directory}/dispatcher.list"\n'
            "#!define CHILDREN 2\n"
        )

    def command(self) -> list[str]:
        """All in the foreground, its log on standard error."""
        alone = ["unshare", "--pid", "--fork", "--kill-child"]
        memory = ["-m", "128", "-M", "16"]
        home = ["-f", f"{self.directory}/{self._config}", "-w", str(self.directory), "-Y", str(self.directory)]
        return [*alone, "kamailio", "-DD", "-E", *memory, *home]

    def _ready(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((self.host, 0))
            probe.settimeout(0.2)
            port = probe.getsockname()[1]
            via = f"Via: SIP/2.0/UDP {self.host}:{port};branch=z9hG4bKready"
            uri = f"sip:ready@{self.host}:{self.sip_port}"
            head = [f"OPTIONS {uri} SIP/2.0", via, f"From: <{uri}>;tag=1", f"To: <{uri}>", f"Call-ID: {port}"]
            head += ["CSeq: 1 OPTIONS", "Max-Forwards: 70", "Content-Length: 0", "", ""]
            probe.sendto("\r\n".join(head).encode(), self.sip_address)
            try:
                return probe.recv(2048).startswith(b"SIP/2.0 200")
            except OSError:
                return False

    def freeze(self) -> None:
        """Every one of its processes hangs."""
        for pid in self._processes():
            hang(pid)

    def _signal(self, number: int) -> None:
        """A kill is for the namespace, with all that is in it; SIGTERM for the first process, which ends the others."""
        if number == SIGKILL:
            return super()._signal(number)
        processes = self._processes()
        for pid in processes[:1] if number == SIGTERM else processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: int) -> None:
        """The processes of a namespace die a moment after its first: until then they hold the ports."""
        processes = self._processes() if self.running else []
        super()._end(number)
        until = time.monotonic() + STOP_S
        while any(Path(f"/proc/{pid}").exists() for pid in processes):
            assert time.monotonic() < until, "Kamailio does not end"
            time.sleep(0.005)

    def _processes(self) -> list[int]:
        """Those of Kamailio itself."""
        assert self._process is not None, "not running"
        found, parents = [], [self._process.pid]
        for parent in parents:
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
                parents += map(int, children)
                found += map(int, children)
        return found
