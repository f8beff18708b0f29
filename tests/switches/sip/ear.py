"""One end of an RTP audio stream: speaks a steady tone and can tell what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.waiting import PATIENCE_S

RATE_HZ = 8000
FRAME_S = 0.02
FRAME_SAMPLES = 160
WINDOW_S = 0.25
AMPLITUDE = 5000
TONES_HZ = (400, 600, 800, 1000)  # each fits a whole number of times into a packet: none leaks into another
_SILENCE_POWER = 50.0**2
_TONE_SHARE, _VOICE_SHARE = 0.1, 0.15  # of a window's power: no voice is this pure, no tone this broad


@dataclass(frozen=True)
class Heard:
    """A quarter of a second: the known tones in it, and whether there was anything else, such as a voice."""

    at: float
    tones: tuple[int, ...]
    voice: bool

    @property
    def silent(self) -> bool:
        """Packets came, with nothing in them."""
        return not self.tones and not self.voice


class Ear(asyncio.DatagramProtocol):
    """Sends `tone_hz` (None: nothing at all, as with silence suppression) and keeps what arrives."""

    def __init__(self, tone_hz: int | None) -> None:
        """Use `Ear.open`."""
        self.port: int
        self.peer: tuple[str, int] | None = None
        self._transport: asyncio.DatagramTransport
        self._packets: list[tuple[float, bytes]] = []
        self._wave = tone(tone_hz) if tone_hz else None
        self._speech: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: str, tone_hz: int | None) -> Ear:
        """An ear on a free port of `address`; it speaks once `peer` is set by `connect`."""
        loop = asyncio.get_running_loop()
        transport, ear = await loop.create_datagram_endpoint(lambda: cls(tone_hz), local_addr=(address, 0))
        ear._transport, ear.port = transport, transport.get_extra_info("sockname")[1]
        return ear

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Called by asyncio; payload type 8 is the A-law that was offered."""
        if len(data) > 12 and data[1] & 0x7F == 8:
            self._packets.append((time.time(), data[12:]))

    def connect(self, peer: tuple[str, int]) -> None:
        """Speak to `peer` from now on."""
        self.peer = peer
        if self._wave and not self._speech:
            self._speech = asyncio.create_task(self._speak(self._wave))

    async def close(self) -> None:
        """Fall silent; what was heard stays."""
        if self._speech:
            self._speech.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._speech
        self._transport.close()

    def heard(self, since: float = 0.0) -> list[Heard]:
        """Every window with sound packets in it that began at `since` (Unix time) or later."""
        windows: dict[int, list[bytes]] = {}
        for at, payload in self._packets:
            windows.setdefault(int(at / WINDOW_S), []).append(payload)
        begun = ((index * WINDOW_S, payloads) for index, payloads in windows.items())
        return [listen(at, payloads) for at, payloads in begun if at >= since]

    async def until_heard(
        self, wanted: Callable[[Heard], bool], within_s: float = PATIENCE_S, since: float = 0.0
    ) -> Heard:
        """The first window that `wanted` accepts; TimeoutError with what was heard instead."""
        deadline = time.monotonic() + within_s
        while True:
            heard = self.heard(since)
            for window in heard[:-1]:  # the last one is still filling
                if wanted(window):
                    return window
            if time.monotonic() > deadline:
                raise TimeoutError(f"not heard within {within_s} s; heard {heard[-8:]}")
            await asyncio.sleep(WINDOW_S / 2)

    async def _speak(self, wave: bytes) -> None:
        sequence, source, sent = random.randrange(2**15), random.randrange(2**32), 0
        began = time.monotonic()
        while True:
            header = struct.pack(">BBHII", 0x80, 8, (sequence + sent) & 0xFFFF, sent * FRAME_SAMPLES, source)
            self._transport.sendto(header + wave, self.peer)
            sent += 1
            await asyncio.sleep(max(0.0, began + sent * FRAME_S - time.monotonic()))


def tone(tone_hz: int) -> bytes:
    """A packet of a sine in A-law; joins onto itself without a click."""
    step = 2 * math.pi * tone_hz / RATE_HZ
    return bytes(_linear_to_alaw(AMPLITUDE * math.sin(step * i)) for i in range(FRAME_SAMPLES))


def listen(at: float, payloads: Sequence[bytes]) -> Heard:
    """What sounds in packets of A-law: known tones by Goertzel's filter, the rest as voice.

    Packet by packet, because a lost one makes a steady tone jump.
    """
    packets = [[_LINEAR[code] for code in payload] for payload in payloads]
    power = sum(sum(sample * sample for sample in packet) / len(packet) for packet in packets)
    if power < _SILENCE_POWER * len(packets):
        return Heard(at, (), voice=False)
    shares = {hz: sum(_power_at(hz, packet) for packet in packets) / power for hz in TONES_HZ}
    tones = tuple(hz for hz, share in shares.items() if share > _TONE_SHARE)
    return Heard(at, tones, voice=1 - sum(shares.values()) > _VOICE_SHARE)


def _power_at(hz: int, samples: Sequence[int]) -> float:
    turn = 2 * math.cos(2 * math.pi * hz / RATE_HZ)
    last = before = 0.0
    for sample in samples:
        last, before = sample + turn * last - before, last
    return 2 * (last * last + before * before - turn * last * before) / len(samples) ** 2


def _alaw_to_linear(code: int) -> int:
    """ITU-T G.711, A-law: even bits inverted, sign, 3 bits exponent, 4 bits mantissa; 16-bit result."""
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    magnitude = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


_LINEAR = [_alaw_to_linear(code) for code in range(256)]


def _linear_to_alaw(level: float) -> int:
    return min(range(256), key=lambda code: abs(_LINEAR[code] - level))
