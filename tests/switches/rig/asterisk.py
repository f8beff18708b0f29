"""A real Asterisk 22 on loopback: the configuration that ships in docker/asterisk/, and the peers of etc/."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM

from tests.servers import HOST, free_port, hang

SHIPPED = Path(__file__).parents[3] / "docker" / "asterisk"
EXTRAS = Path(__file__).parent / "etc"
BUILD = Path(__file__).parent / "build.sh"
BOOT_S = 30.0
STOP_S = 10.0

ACME, GLOBEX, STRANGER = "127.0.0.11", "127.0.0.12", "127.0.0.13"
CARRIER_A, CARRIER_B = "127.0.0.21", "127.0.0.22"


class AsteriskRig:
    """One Asterisk process and its own configuration, log and run directory in a root made by build.sh.

    Ports are free ones, so several rigs run side by side; they stay the same over stop() and start().
    Peers (ACME ... CARRIER_B) are told apart by their loopback address and all answer on `peer_port`.
    """

    def __init__(self, root: Path) -> None:
        """Write the configuration of a new instance below `root`; nothing runs yet."""
        self.root = root
        self.host = HOST
        self.ami_port = free_port(socket.SOCK_STREAM)
        self.sip_port = free_port(socket.SOCK_DGRAM)
        self.peer_port = free_port(socket.SOCK_DGRAM, [ACME, GLOBEX, STRANGER, CARRIER_A, CARRIER_B])
        self.ami_user, self.ami_secret = "ccgate", "gate-secret"
        self.sip_address = (self.host, self.sip_port)
        self._home = root / "srv" / f"rig-{self.ami_port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._configure()

    @property
    def etc(self) -> Path:
        """The configuration directory; after a change there, `cli("core reload")`."""
        return self._home / "etc"

    @property
    def log(self) -> Path:
        """What Asterisk printed: notices, warnings, errors."""
        return self._home / "console.log"

    @property
    def running(self) -> bool:
        """Whether the process lives (a frozen one does)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start Asterisk and wait until it is fully booted; RuntimeError with the end of its log if not."""
        inside = f"/{self._home.relative_to(self.root)}"
        command = ["unshare", f"--mount-proc={self.root}/proc", "chroot", str(self.root)]
        # setpriv after the change of user, which would clear the signal: no Asterisk outlives its tests.
        command += ["setpriv", "--reuid=asterisk", "--regid=asterisk", "--clear-groups", "--pdeathsig=KILL"]
        command += ["/usr/sbin/asterisk", "-f", "-C", f"{inside}/etc/asterisk.conf"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + BOOT_S
        while "fully booted" not in self.cli("core waitfullybooted"):
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Asterisk did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it in order (SIGTERM): its calls are hung up, its clients told."""
        self._end(SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL): callers and carriers hear nothing."""
        self._end(SIGKILL)

    def freeze(self) -> None:
        """Make it hang: connections stay open, nothing is answered until resume()."""
        assert self._process is not None, "Asterisk was never started"
        hang(self._process.pid)

    def resume(self) -> None:
        """Undo freeze()."""
        self._signal(SIGCONT)

    def cli(self, command: str) -> str:
        """What Asterisk's console prints for `command`; also its complaint when it is not running."""
        config = f"/{self._home.relative_to(self.root)}/etc/asterisk.conf"
        asked = ["chroot", str(self.root), "/usr/sbin/asterisk", "-C", config, "-rx", command]
        return subprocess.run(asked, capture_output=True, text=True, timeout=BOOT_S, check=False).stdout

    def remove(self) -> None:
        """Stop it and delete what belongs to this instance."""
        self.stop()
        shutil.rmtree(self._home)

    def _configure(self) -> None:
        shutil.rmtree(self._home, ignore_errors=True)  # of a run that was killed; the port is free
        for name in ("etc", "run", "log", "db", "spool"):
            (self._home / name).mkdir(parents=True)
        values = {
            "@HOME@": f"/{self._home.relative_to(self.root)}",
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
        home = f"/{self._home.relative_to(self.root)}"
        subprocess.run(["chroot", str(self.root), "chown", "-R", "asterisk:asterisk", home], check=True)

    def _signal(self, number: int) -> None:
        assert self._process is not None, "Asterisk was never started"
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
            self._process.wait(STOP_S)
        self._process = None


def built_root() -> Path:
    """The installation made by build.sh, built now if missing; CalledProcessError if it cannot be."""
    done = subprocess.run([str(BUILD)], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())
