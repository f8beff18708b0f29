"""What befalls the store, the switches, the clocks and callctl in a run, and when."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from callctl.limits.watching import Allow, Release, Tell, Told, Word
from tests.simulation.clock import WallClock
from tests.simulation.store import at_once
from tests.simulation.switch import FakeSwitch
from tests.simulation.thresholds import local_day

if TYPE_CHECKING:
    from tests.simulation.world import World


class Troubles:
    """Drawn from `rng` as often as the run's `Faults` say."""

    def __init__(self, world: "World", rng: Random) -> None:
        self._world = world
        self._rng = rng

    def plan(self, within_ms: int) -> None:
        world, rng, faults = self._world, self._rng, self._world.faults

        def often(count: int, act: Callable[[], None]) -> None:
            for _ in range(count):
                world.loop.after_ms(rng.randint(1_000, within_ms - 5_000), act)

        often(faults.store_outages, self._outage)
        often(faults.kills, lambda: world.kill_and_restart(rng.choice([300, 3_000, 20_000, 100_000, 200_000])))
        often(faults.links_lost, lambda: self._unlink(rng.choice([500, 5_000, 60_000])))
        often(faults.switch_restarts, self._switch_restarts)
        often(faults.switch_freezes, lambda: self._any_switch().freeze(rng.choice([1_000, 10_000, 60_000])))
        often(faults.wall_steps, lambda: self._step(world.wall))
        often(faults.switch_wall_steps, lambda: self._step(self._any_switch().wall))
        often(faults.reloads, world.market.reload)
        often(rng.randint(0, 4), self._somebody_pays)
        often(rng.randint(0, 6), self._an_operator_speaks)

    def relink(self, switch: FakeSwitch) -> None:
        switch.linked = True
        self._world.story.tell(f"{switch.name}: link is back")
        if self._world.life is not None:
            self._world.life.relinked(switch.name)

    def _any_switch(self) -> FakeSwitch:
        return self._world.switches[self._rng.choice(sorted(self._world.switches))]

    def _outage(self) -> None:
        self._world.story.tell("store is away")
        self._world.store.away = True
        self._world.loop.after_ms(self._rng.choice([800, 10_000, 120_000]), self._store_back)

    def _store_back(self) -> None:
        self._world.story.tell("store is back")
        self._world.store.away = False

    def _unlink(self, ms: int) -> None:
        switch = self._any_switch()
        self._world.story.tell(f"{switch.name}: link lost for", ms)
        switch.linked = False
        self._world.loop.after_ms(ms, self.relink, switch)

    def _switch_restarts(self) -> None:
        switch = self._any_switch()
        switch.restart()
        self._world.loop.after_ms(self._rng.choice([2_000, 30_000]), self.relink, switch)

    def _step(self, wall: WallClock) -> None:
        world = self._world
        step_ms = self._rng.choice([-3_600_000, -20_000, -1_500, 1_500, 20_000, 3_600_000])
        whose = [switch.name for switch in world.switches.values() if switch.wall is wall]
        world.story.tell("the wall clock of", whose or "callctl", "steps by", step_ms)
        wall.off_ms += step_ms
        world.auditor.wall_stepped(not whose, whose)

    def _somebody_pays(self) -> None:
        world = self._world
        account = self._rng.choice(sorted(world.market.accounts))
        world.market.pay(account, self._rng.randint(1, 5_000) * 100)
        if world.life is not None:
            world.life.topped_up(account)

    def _an_operator_speaks(self) -> None:
        """About the thresholds of an account, and of its day as the wall clock has it."""
        world, rng = self._world, self._rng
        account = world.market.accounts[rng.choice(sorted(world.market.accounts))]
        now_ms = world.wall.now_ms()
        day = local_day(now_ms, account.timezone)
        before = tuple(Told(day - ago, rng.randint(0, 2_000_000), incident=ago == 7) for ago in range(1, 30, 3))
        said = rng.choice([Release(), Release(now_ms + 20_000), Allow(50_000), Tell(before), None])
        if said is None:
            world.market.agree(account.id)
            return
        word = Word(account.id, world.market.registry.root(account), day, now_ms, "ops", "", said)
        at_once(world.market._store.say(word))
        world.auditor.thresholds.said(word)
        world.story.tell("operator says", account.id, said)
