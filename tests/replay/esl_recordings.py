"""Traffic of a real FreeSWITCH 1.11.1, as it was on the wire: one frame, or one answer, to a file."""

from pathlib import Path

from callctl.adapters.freeswitch.wire import Event, Frame, Reader, decoded, parse_event, parse_headers

FOLDER = Path(__file__).parent / "freeswitch"
CALL = "27760a05-46ad-494f-a14f-bece41115e99"
"""The ingress leg of the one call that was recorded with all its events, in JSON."""


def frame(name: str) -> Frame:
    (found,) = Reader().feed((FOLDER / name).read_bytes())
    return found


def event(name: str) -> Event:
    """An event by the name of its file, in either form."""
    found = frame(name)
    told = parse_event(found.body) if ".json" in name else decoded(parse_headers(found.body))
    assert told is not None, name
    return told


def text(name: str) -> str:
    return (FOLDER / name).read_text()


def whole_call() -> list[Event]:
    """Every event of the recorded call, of both its legs, in order."""
    told = [event(path.name) for path in FOLDER.glob("CHANNEL_*.json.raw")]
    legs = {CALL, *(it["Unique-ID"] for it in told if it.get("variable_originator") == CALL)}
    return sorted((it for it in told if it.get("Unique-ID") in legs), key=lambda it: int(it["Event-Sequence"]))
