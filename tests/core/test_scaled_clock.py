"""Time that runs faster."""

import pytest

from callctl.clock import Instant
from callctl.simulators.scaled_clock import ScaledClock


class HandClock:
    """Stands still until it sleeps."""

    def __init__(self) -> None:
        self.at = Instant(1_000_000, 500)

    def now(self) -> Instant:
        return self.at

    async def sleep_ms(self, ms: int) -> None:
        self.at = self.at.plus_ms(ms)


async def test_both_clocks_run_at_that_speed_from_now_on() -> None:
    base = HandClock()
    clock = ScaledClock(base, 20)
    assert clock.now() == Instant(1_000_000, 500)
    await clock.sleep_ms(60_000)
    assert base.now() == Instant(1_003_000, 3_500)
    assert clock.now() == Instant(1_060_000, 60_500)


@pytest.mark.parametrize("speed", [0, -1])
def test_time_runs_forward(speed: float) -> None:
    with pytest.raises(ValueError, match="cannot run"):
        ScaledClock(HandClock(), speed)
