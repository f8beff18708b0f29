"""A limit of the provider's own in runs where everything fails: nothing breaks, and no channel stays taken."""

from callctl.call.admission import EMERGENCY_GRANT_S
from callctl.limits.provider import ProviderLimit
from callctl.rating.tariff import Direction
from tests.simulation.faults import Faults
from tests.simulation.policy import POLICY
from tests.simulation.store import at_once
from tests.simulation.world import World, simulate

LONGEST_MS = (EMERGENCY_GRANT_S + POLICY.setup_timeout_s + POLICY.lease_grace_s) * 1000
LIMIT = ProviderLimit("all", total=2)


def put_limit(world: World) -> None:
    world.market.registry.put_limit(LIMIT)


def in_use(world: World, at_ms: int) -> list[int]:
    slots = LIMIT.slots(Direction.OUTBOUND)
    return list(at_once(world.store.channels.inner.take(slots, "", at_ms, at_ms, look=True)))


def refused(world: World) -> list[str]:
    return [record.account for record in world.archive.records if b'"provider_limit"' in record.payload]


def test_whatever_fails_no_channel_stays_taken_for_longer_than_its_lease() -> None:
    seen = 0
    for seed in range(40):
        world = simulate(seed, put_limit)
        assert not world.auditor.objections, (seed, world.auditor.objections)
        assert in_use(world, world.wall.now_ms() + LONGEST_MS) == [0], seed
        seen += len(refused(world))
    assert seen > 50


def test_without_faults_each_is_given_back_at_once() -> None:
    for seed in range(10):
        world = simulate(seed, put_limit, faults=Faults())
        assert not world.auditor.objections, (seed, world.auditor.objections)
        assert in_use(world, 0) == [0], seed
