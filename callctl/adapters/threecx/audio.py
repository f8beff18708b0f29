"""Sounds to a caller at the route point: raw PCM, signed 16-bit little endian, 8000 Hz, mono, 16 bytes a millisecond.

Only our own route point has audio; any other participant answers 424, as ours does for a moment before it is
connected. The PBX plays what it gets and throws away what it gets too early, so we write at the pace of the sound.
"""

import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from callctl.adapters.threecx.link import BUSY, NotDone, ThreeCxLink, path_of
from callctl.adapters.threecx.wire import Key
from callctl.errors import ConfigError
from callctl.ports import Clock

BYTES_PER_MS: Final = 16
SLICE_BYTES: Final = 4_096
AHEAD_MS: Final = 500
LONGEST_MS: Final = 60_000
NOT_YET: Final = 424
FIRST_PAUSE_MS, LONGEST_PAUSE_MS, PATIENCE_MS = 50, 500, 5_000


def read_sound(path: Path) -> bytes:
    """The samples of a WAV file, or of one without a header (.raw, .pcm, .sln). ConfigError where they do not fit."""
    try:
        if path.suffix.lower() != ".wav":
            samples = path.read_bytes()
        else:
            with wave.open(str(path), "rb") as sound:
                form = sound.getnchannels(), sound.getsampwidth(), sound.getframerate()
                if form != (1, 2, 8000):
                    raise ConfigError(str(path), f"{form} channels, bytes and Hz; expected mono, 16 bit, 8000 Hz")
                samples = sound.readframes(sound.getnframes())
    except (OSError, wave.Error, EOFError) as failed:
        raise ConfigError(str(path), f"no sound: {failed}") from failed
    if not samples or len(samples) % 2 or len(samples) > LONGEST_MS * BYTES_PER_MS:
        raise ConfigError(str(path), f"{len(samples)} bytes; expected whole samples of at most {LONGEST_MS // 1000} s")
    return samples


async def paced(samples: bytes, clock: Clock) -> AsyncIterator[bytes]:
    """In slices, at most half a second ahead of what is heard; ends when the last of it has been heard."""
    began = clock.now()
    for at in range(0, len(samples), SLICE_BYTES):
        piece = samples[at : at + SLICE_BYTES]
        ahead_ms = (at + len(piece)) // BYTES_PER_MS - clock.now().since_ms(began)
        if ahead_ms > AHEAD_MS:
            await clock.sleep_ms(ahead_ms - AHEAD_MS)
        yield piece
    await clock.sleep_ms(max(0, len(samples) // BYTES_PER_MS - clock.now().since_ms(began)))


async def play(link: ThreeCxLink, clock: Clock, leg: Key, samples: bytes) -> None:
    """To its end, or until the participant is gone (NotDone, Unanswered)."""
    dn, id_ = leg
    path, lasts_ms = path_of(dn, "participants", id_, "stream"), len(samples) // BYTES_PER_MS
    began, pause_ms = clock.now(), FIRST_PAUSE_MS
    while True:
        try:
            return await link.stream(path, lambda: paced(samples, clock), lasts_ms)
        except NotDone as error:
            if error.status not in {NOT_YET, *BUSY} or clock.now().since_ms(began) > PATIENCE_MS:
                raise
        await clock.sleep_ms(pause_ms)
        pause_ms = min(LONGEST_PAUSE_MS, pause_ms * 2)
