"""A real Asterisk 22 on loopback: the configuration that ships in docker/asterisk/, and the peers of etc/."""

import shutil
import socket
import subprocess
from pathlib import Path

from tests.servers import HOST, Server, free_port

SHIPPED = Path(__file__).parents[3] / "docker" / "asterisk"
EXTRAS = Path(__file__).parent / "etc"
BUILD = Path(__file__).parent / "build.sh"

ACME, GLOBEX, STRANGER = "127.0.0.11", "127.0.0.12", "127.0.0.13"
CARRIER_A, CARRIER_B = "127.0.0.21", "127.0.0.22"


class AsteriskRig(Server):
    """One Asterisk process and its own configuration, log and run directory in a root made by build.sh.

    Ports are free ones, so several rigs run side by side; they stay the same over stop() and start().
    Peers (ACME ... CARRIER_B) are told apart by their loopback address and all answer on `peer_port`.
    """

    start_s = 30.0

    def __init__(self, root: Path) -> None:
        """Write the configuration of a new instance below `root`; nothing runs yet."""
        self.root = root
        self.host = HOST
        self.ami_port = free_port(socket.SOCK_STREAM)
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.peer_port = free_port(socket.SOCK_DGRAM, [ACME, GLOBEX, STRANGER, CARRIER_A, CARRIER_B])
        self.ami_user, self.ami_secret = "ccgate", "gate-secret"
        self.sip_address = (self.host, self.sip_port)
        super().__init__(root / "srv" / f"rig-{self.ami_port}")
        self._configure()

    @property
    def etc(self) -> Path:
        """The configuration directory; after a change there, `cli("core reload")`."""
        return self.directory / "etc"

    @property
    def inside(self) -> str:
        """The directory as Asterisk names it, from within its root."""
        return f"/{self.directory.relative_to(self.root)}"

    def command(self) -> list[str]:
        """Asterisk in its root, with a /proc of its own."""
        command = ["unshare", f"--mount-proc={self.root}/proc", "chroot", str(self.root)]
        # setpriv after the change of user, which would clear the signal: no Asterisk outlives its tests.
        command += ["setpriv", "--reuid=asterisk", "--regid=asterisk", "--clear-groups", "--pdeathsig=KILL"]
        return [*command, "/usr/sbin/asterisk", "-f", "-C", f"{self.inside}/etc/asterisk.conf"]

    def _ready(self) -> bool:
        return "fully booted" in self.cli("core waitfullybooted")

    def cli(self, command: str) -> str:
        """What Asterisk's console prints for `command`; also its complaint when it is not running."""
        asterisk = ["/usr/sbin/asterisk", "-C", f"{self.inside}/etc/asterisk.conf"]
        asked = ["chroot", str(self.root), *asterisk, "-rx", command]
        return subprocess.run(asked, capture_output=True, text=True, timeout=self.start_s, check=False).stdout

    def remove(self) -> None:
        """Stop it and delete what belongs to this instance."""
        self.stop()
        shutil.rmtree(self.directory)

    def _configure(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)  # of a run that was killed; the port is free
        for name in ("etc", "run", "log", "db", "spool"):
            (self.directory / name).mkdir(parents=True)
        values = {
            "@HOME@": self.inside,
            "@MODULES@": f"/{next(self.root.glob('usr/lib/**/asterisk/modules')).relative_to(self.root)}",
            "@AMI_PORT@": str(self.ami_port),
            "@SIP_PORT@": str(self.sip_port),
            "@PEER_PORT@": str(self.peer_port),
        }
        for source in (*SHIPPED.glob("*.conf"), *EXTRAS.glob("*.conf")):
            text = source.read_text()
            for placeholder, value in values.items():
                text = text.replace(placeholder, value)
            (self.etc / source.name).write_text(text)
        subprocess.run(["chroot", str(self.root), "chown", "-R", "asterisk:asterisk", self.inside], check=True)


def built_root() -> Path:
    """The installation made by build.sh, built now if missing; CalledProcessError if it cannot be."""
    done = subprocess.run([str(BUILD)], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())
