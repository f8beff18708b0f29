"""The directory: chains, names, and that changing it is the same as compiling it anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.accounts import MAX_CHAIN, Account, Directory, Kind, Trunk

NAMES = ["a", "b", "c", "d", "e"]


def account(id: str, parent: str | None = None, numbers: tuple[str, ...] = (), ips: tuple[str, ...] = ()) -> Account:
    return Account(id, Kind.PREPAID, "standard", parent, numbers=numbers, source_ips=ips)


def seen(directory: Directory) -> tuple[object, ...]:
    """All that can be asked."""
    return (
        directory.accounts,
        directory.trunks,
        {id: directory.chain(id) for id in NAMES},
        {id: directory.below(id) for id in NAMES},
        {id: directory.by_number(f"+{id}") for id in NAMES},
        {id: directory.by_ip(id) for id in [*NAMES, *(f"trunk {name}" for name in NAMES)]},
    )


@given(st.data())
def test_changing_is_the_same_as_compiling_anew(data: st.DataObject) -> None:
    directory = Directory()
    accounts: dict[str, Account] = {}
    trunks: dict[str, Trunk] = {}
    for _ in range(data.draw(st.integers(1, 15))):
        if accounts and data.draw(st.booleans()):
            trunk = Trunk(data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(list(accounts))))
            ips = (f"trunk {trunk.id}",) if data.draw(st.booleans()) else ()
            trunk = Trunk(trunk.id, trunk.account, ips)
            trunks[trunk.id] = trunk
            directory = directory.with_trunk(trunk)
        else:
            id = data.draw(st.sampled_from(NAMES))
            parent = data.draw(st.sampled_from([None, *accounts]))
            one = account(id, parent, *((f"{sign}{id}",) if data.draw(st.booleans()) else () for sign in ("+", "")))
            candidate = accounts | {id: one}
            try:
                Directory(candidate.values())
            except ValueError:
                with pytest.raises(ValueError, match="loop"):
                    directory.with_account(one)
                continue
            before, saw = directory, seen(directory)
            accounts, directory = candidate, directory.with_account(one)
            assert seen(before) == saw
        assert seen(directory) == seen(Directory(accounts.values(), trunks.values()))


def test_a_chain_ends_at_the_root() -> None:
    directory = Directory([account("a"), account("b", "a"), account("c", "b"), account("d", "a")])
    assert [level.id for level in directory.chain("c")] == ["c", "b", "a"]
    assert directory.root("c") == "a"
    assert directory.below("b") == {"b", "c"}
    assert directory.below("a") == {"a", "b", "c", "d"}


def test_who_is_not_known_has_nothing() -> None:
    directory = Directory()
    assert directory.chain("a") == ()
    assert directory.root("a") is None
    assert directory.below("a") == set()
    assert directory.by_number("+1") is None
    assert directory.by_ip("192.0.2.1") is None


def test_a_missing_parent_or_a_loop_is_refused() -> None:
    with pytest.raises(ValueError, match="parent nobody does not exist"):
        Directory([account("a", "nobody")])
    with pytest.raises(ValueError, match="parent nobody does not exist"):
        Directory().with_account(account("a", "nobody"))
    with pytest.raises(ValueError, match="loop"):
        Directory([account("a", "b"), account("b", "a")])
    chain = [account(str(n), str(n - 1) if n else None) for n in range(MAX_CHAIN)]
    assert len(Directory(chain).chain(str(MAX_CHAIN - 1))) == MAX_CHAIN
    with pytest.raises(ValueError, match=f"more than {MAX_CHAIN} levels"):
        Directory(chain).with_account(account("deeper", str(MAX_CHAIN - 1)))
