"""Time that runs faster, for a demo that nobody wants to watch in real time."""

from callctl.clock import Instant
from callctl.ports import Clock


class ScaledClock:
    """`base` with time running `speed` times as fast from now on. Everything that shares it agrees."""

    def __init__(self, base: Clock, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"time cannot run {speed} times as fast")
        self._base = base
        self._began = base.now()
        self._speed = speed

    def now(self) -> Instant:
        return self._began.plus_ms(int(self._base.now().since_ms(self._began) * self._speed))

    async def sleep_ms(self, ms: int) -> None:
        await self._base.sleep_ms(int(ms / self._speed))
