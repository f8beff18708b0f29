"""Manager traffic of a real Asterisk 22, as it was on the wire.

A line `# < +1.234` comes before each message from Asterisk, `# > ` before each to it; other `# ` lines are notes.
"""

from pathlib import Path

from callctl.adapters.asterisk.wire import Message

FOLDER = Path(__file__).parent / "asterisk"
ASTERISK_16 = Path(__file__).parent / "asterisk16"


def received(name: str, folder: Path = FOLDER) -> list[Message]:
    """The messages that Asterisk sent in `<name>*.txt`."""
    (path,) = folder.glob(f"{name}*.txt")
    messages = []
    for block in path.read_bytes().replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = block.split(b"\n")
        if any(line.startswith(b"# < ") for line in lines):
            messages.append(Message(b"\r\n".join(line for line in lines if not line.startswith(b"# "))))
    return messages


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))
