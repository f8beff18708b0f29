"""The real Kamailio of Debian's package on loopback, with the shipped configuration for call_control or another.

`sip.sipp` calls through it from CALLER; its carrier listens at CARRIER.
"""

import os
import shutil
import socket
from abc import abstractmethod
from pathlib import Path

from tests.servers import HOST, Server, free_port, missing

SHIPPED = Path(__file__).parents[3] / "docker/kamailio/kamailio-call-control.cfg"
CALLER = "127.0.0.21"
CARRIER = "127.0.0.22"
STRANGER = "127.0.0.23"


class SipServer(Server):
    """A Kamailio in a process namespace of its own: whatever ends it ends all of its processes."""

    def __init__(self, directory: Path, *defines: str) -> None:
        """`defines` as its `-A` sets them."""
        super().__init__(directory)
        self.binary = shutil.which("kamailio", path="/usr/sbin:/usr/bin")
        if self.binary is None or os.geteuid() != 0:
            missing("Kamailio", "it needs root and Debian's kamailio")
        self.host = HOST
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.peer_port = free_port(socket.SOCK_DGRAM, [CALLER, CARRIER, STRANGER])
        self._defines = defines

    @abstractmethod
    def config(self) -> str:
        """The text of kamailio.cfg."""

    def command(self) -> list[str]:
        path = self.directory / "kamailio.cfg"
        shutil.copy(SHIPPED.with_name("callctl-dialogs.cfg"), self.directory)
        path.write_text(self.config())
        defined = [part for define in self._defines for part in ("-A", define)]
        alone = ["unshare", "--pid", "--fork", "--kill-child"]
        return [*alone, str(self.binary), "-DD", "-E", "-Y", str(self.directory), "-f", str(path), *defined]

    def _ready(self) -> bool:
        """It answers SIP: a request that its script refuses."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.bind((self.host, 0))
            here = f"{self.host}:{probe.getsockname()[1]}"
            lines = [
                f"OPTIONS sip:{self.host}:{self.sip_port} SIP/2.0",
                f"Via: SIP/2.0/UDP {here};branch=z9hG4bKready",
                f"From: <sip:probe@{here}>;tag=1",
                f"To: <sip:probe@{self.host}>",
                "Call-ID: ready",
                "CSeq: 1 OPTIONS",
                "Max-Forwards: 1",
                "Content-Length: 0",
                "",
                "",
            ]
            try:
                probe.sendto("\r\n".join(lines).encode(), (self.host, self.sip_port))
                return probe.recv(2000).startswith(b"SIP/2.0 405")
            except OSError:
                return False


class CallControlProxy(SipServer):
    """The shipped configuration; its paths and ports alone are ours."""

    def __init__(self, directory: Path, *defines: str) -> None:
        super().__init__(directory, *defines)
        self.socket = directory / "call_control.sock"
        self.management = directory / "rpc.sock"

    def config(self) -> str:
        text = SHIPPED.read_text()
        for shipped, ours in (
            ("udp:127.0.0.1:5060", f"udp:{self.host}:{self.sip_port}"),
            ("sip:127.0.0.1:5080", f"sip:{CARRIER}:{self.peer_port}"),
            ("/run/callcontrol/socket", str(self.socket)),
            ("/run/kamailio/callctl-rpc.sock", str(self.management)),
        ):
            assert shipped in text, shipped
            text = text.replace(shipped, ours)
        return text
