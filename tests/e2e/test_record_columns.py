"""What leaves the house by a sink is what call control writes, and nothing of it is forgotten."""

from callctl.sinks.record import COLUMNS, columns_of
from tests.e2e.front_door import FrontDoor


async def test_the_columns_are_those_of_a_record(door: FrontDoor) -> None:
    ended = await door.call("c1")
    of_others = {"kind", "service", "quantity", "share"}
    assert set(ended["cdrs"][0]) | {"sequence"} | of_others == set(COLUMNS)


async def test_what_callctl_keeps_for_itself_stays_behind(door: FrontDoor) -> None:
    await door.call("c1", account="shop")
    entries = [entry for outbox in door.store.outbox.values() for entry in outbox.entries]
    (written,) = [record for _, _, record in entries if record.account == "shop"]
    columns = columns_of(written.payload)
    assert b'"chain"' in written.payload
    assert "chain" not in columns
    assert columns["charge"] == "0.0800"
