"""What may go wrong in a run: every seed draws its own mixture, and some draw none."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Faults:
    """Rates are per request, command or event; counts are per run."""

    store_failing: float = 0.0
    store_slow: float = 0.0
    store_late: float = 0.0  # done long after the caller has given up
    store_outages: int = 0
    kills: int = 0
    kill_on_write: float = 0.0
    events_lost: float = 0.0
    events_twice: float = 0.0
    events_late: float = 0.0
    commands_lost: float = 0.0
    commands_unconfirmed: float = 0.0
    links_lost: int = 0
    switch_restarts: int = 0
    switch_freezes: int = 0
    wall_steps: int = 0
    switch_wall_steps: int = 0
    sink_failing: float = 0.0
    reloads: int = 0
    clients_silent: float = 0.0

    @classmethod
    def drawn(cls, rng: Random) -> "Faults":
        if rng.random() < 0.1:
            return cls(reloads=2)

        def rate(most: float) -> float:
            return rng.uniform(0, most) if rng.random() < 0.4 else 0.0

        def count(most: int) -> int:
            return rng.randint(1, most) if rng.random() < 0.35 else 0

        return cls(
            store_failing=rate(0.3),
            store_slow=rate(0.3),
            store_late=rate(0.1),
            store_outages=count(2),
            kills=count(4),
            kill_on_write=rate(0.02),
            events_lost=rate(0.2),
            events_twice=rate(0.3),
            events_late=rate(0.3),
            commands_lost=rate(0.2),
            commands_unconfirmed=rate(0.2),
            links_lost=count(3),
            switch_restarts=count(2),
            switch_freezes=count(2),
            wall_steps=count(2),
            switch_wall_steps=count(1),
            sink_failing=rate(0.4),
            reloads=count(3),
            clients_silent=rate(0.3),
        )
