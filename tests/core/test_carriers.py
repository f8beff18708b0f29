"""Who pays for a call that a carrier brings, and by what the carrier that answered is paid."""

import pytest

from callctl.accounts import Account, Kind, Trunk
from callctl.call.events import Offered
from callctl.control.facts import gather
from callctl.limits.classes import NumberLists
from callctl.rating.tariff import Direction, Plan
from callctl.store.registry import Registry
from tests.core.calls import CALL, START

DID = "+31201234567"


@pytest.fixture
def known() -> Registry:
    """acme has a number; the carrier's line stands in the name of the house."""
    registry = Registry()
    registry.put_plan(Plan("retail"))
    for id, numbers in (("house", ()), ("acme", (DID,))):
        registry.put_account(Account(id, Kind.PREPAID, "retail", numbers=numbers))
    registry.put_trunk(Trunk("carrier-a", "house"))
    return registry


@pytest.mark.parametrize(
    ("called", "direction", "attended", "fingerprint", "payer"),
    [
        (DID, Direction.INBOUND, True, "", "acme"),
        ("+31201234599", Direction.INBOUND, True, "", "house"),
        (DID, Direction.INBOUND, False, "", "house"),
        (DID, Direction.INBOUND, True, "f", "house"),  # over HTTP the caller of the API has named the trunk on purpose
        (DID, Direction.OUTBOUND, True, "", "house"),
    ],
)
def test_what_a_carrier_brings_is_for_whose_number_is_called(
    known: Registry, called: str, direction: Direction, attended: bool, fingerprint: str, payer: str
) -> None:
    told = {"attended": attended, "fingerprint": fingerprint}
    call = Offered(CALL, START, "+31612345678", called, direction, trunk="carrier-a", **told)
    facts = gather(call, known, START, NumberLists())
    assert facts.chain[0].id == payer
    assert (facts.trunk is None) == (payer == "acme")


def test_a_trunk_is_an_endpoint_of_its_switch() -> None:
    assert Trunk("t", "acme").is_on("pbx1")
    assert Trunk("t", "acme", switch="pbx1").is_on("pbx1")
    assert not Trunk("t", "acme", switch="pbx2").is_on("pbx1")
