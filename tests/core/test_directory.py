"""The directory: chains, names, and that changing it is the same as compiling it anew, but for the work."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callctl.accounts import MAX_CHAIN, Account, Directory, Group, Kind, Trunk
from callctl.limits.ids import Thresholds
from tests.effort import calls

NAMES = ["a", "b", "c", "d", "e"]
CLAIMS = {"numbers": "+", "source_ips": ""}


def account(id: str, parent: str | None = None, **fields: Any) -> Account:
    return Account(id, Kind.PREPAID, fields.pop("plan", "standard"), parent, **fields)


def seen(directory: Directory) -> tuple[object, ...]:
    """All that can be asked."""
    return (
        directory.accounts,
        directory.trunks,
        directory.groups,
        directory.plans,
        directory.with_thresholds,
        directory.with_low_balance,
        sorted(directory.roots()),
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
    groups: dict[str, Group] = {}
    for _ in range(data.draw(st.integers(1, 15))):
        if data.draw(st.booleans()):
            group = Group(data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(["gold", "silver"])))
            groups[group.id] = group
            directory.put_group(group)
        elif accounts and data.draw(st.booleans()):
            trunk = Trunk(data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(list(accounts))))
            ips = (f"trunk {trunk.id}",) if data.draw(st.booleans()) else ()
            trunk = Trunk(trunk.id, trunk.account, ips)
            trunks[trunk.id] = trunk
            directory.put_trunk(trunk)
        else:
            id = data.draw(st.sampled_from(NAMES))
            parent = data.draw(st.sampled_from([None, *accounts]))
            claims = {key: (f"{sign}{id}",) for key, sign in CLAIMS.items() if data.draw(st.booleans())}
            plan, group_id = data.draw(st.sampled_from([None, id])), data.draw(st.sampled_from([None, *groups]))
            agreed, low = data.draw(st.sampled_from([None, Thresholds(0)])), data.draw(st.sampled_from([None, 0]))
            one = account(id, parent, plan=plan, group=group_id, thresholds=agreed, low_balance=low, **claims)
            candidate = accounts | {id: one}
            try:
                Directory(candidate.values(), groups=groups.values())
            except ValueError:
                saw = deepcopy(seen(directory))
                with pytest.raises(ValueError, match=r"loop|no plan"):
                    directory.put_account(one)
                assert seen(directory) == saw
                continue
            accounts = candidate
            directory.put_account(one)
        assert seen(directory) == seen(Directory(accounts.values(), trunks.values(), groups.values()))


def test_a_chain_ends_at_the_root() -> None:
    directory = Directory([account("a"), account("b", "a"), account("c", "b"), account("d", "a")])
    assert [level.id for level in directory.chain("c")] == ["c", "b", "a"]
    assert directory.root("c") == "a"
    assert directory.below("b") == {"b", "c"}
    assert directory.below("a") == {"a", "b", "c", "d"}


def test_the_plan_is_the_accounts_own_or_its_groups_or_its_parents() -> None:
    directory = Directory(
        [
            account("a", plan="house"),
            account("b", "a", plan="own", group="gold"),
            account("c", "a", plan=None, group="gold"),
            account("d", "c", plan=None),
            account("e", "a", plan=None),
        ],
        groups=[Group("gold", "golden"), Group("lone", "unused")],
    )
    assert directory.plans == {"a": "house", "b": "own", "c": "golden", "d": "golden", "e": "house"}
    directory.put_group(Group("gold", "platinum"))
    assert directory.plans == {"a": "house", "b": "own", "c": "platinum", "d": "platinum", "e": "house"}
    for group in (None, "nobodys"):
        with pytest.raises(ValueError, match="a: no plan of its own, of its group or of a parent"):
            Directory([account("a", plan=None, group=group)])


def test_a_group_that_is_missing_does_not_fall_through_to_the_parent() -> None:
    with pytest.raises(ValueError, match="b: no plan"):
        Directory([account("a"), account("b", "a", plan=None, group="nobodys")])


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
        Directory().put_account(account("a", "nobody"))
    with pytest.raises(ValueError, match="loop"):
        Directory([account("a", "b"), account("b", "a")])
    chain = [account(str(n), str(n - 1) if n else None) for n in range(MAX_CHAIN)]
    assert len(Directory(chain).chain(str(MAX_CHAIN - 1))) == MAX_CHAIN
    with pytest.raises(ValueError, match=f"more than {MAX_CHAIN} levels"):
        Directory(chain).put_account(account("deeper", str(MAX_CHAIN - 1)))


def test_what_has_a_subtree_does_not_go_deeper_than_a_chain_may_be() -> None:
    chain = [account(str(n), str(n - 1) if n else None) for n in range(MAX_CHAIN - 1)]
    directory = Directory([*chain, account("a"), account("b", "a")])
    with pytest.raises(ValueError, match=f"more than {MAX_CHAIN} levels"):
        directory.put_account(account("a", str(MAX_CHAIN - 2)))
    assert (directory.roots(), directory.chain("b")) == (["0", "a"], (account("b", "a"), account("a")))
    directory.put_account(account("b", str(MAX_CHAIN - 2)))
    assert len(directory.chain("b")) == MAX_CHAIN


def test_who_was_a_root_once_is_among_all_roots_and_once() -> None:
    directory = Directory([account("a"), account("b"), account("c", "b")])
    directory.former_roots.update(dict.fromkeys(("c", "a")))
    assert (directory.roots(), directory.all_roots()) == (["a", "b"], ["a", "b", "c"])


def test_a_change_is_as_much_work_among_many_accounts_as_among_few() -> None:
    def work(others: int) -> int:
        many = [account(f"other {n}", numbers=(f"+9{n}",), source_ips=(f"ip {n}",)) for n in range(others)]
        directory = Directory([*many, account("a"), account("b", "a")], [Trunk("t", "a", ("ip t",))])

        def change() -> None:
            directory.put_account(account("a", numbers=("+1",), source_ips=("ip a",)))
            directory.put_account(account("c", "b"))
            directory.put_trunk(Trunk("t", "b", ("ip u",)))
            directory.roots()

        kept = {id(each) for each in (directory.accounts, directory.plans, directory.trunks)}
        count = calls(change)
        assert {id(each) for each in (directory.accounts, directory.plans, directory.trunks)} == kept
        return count

    assert work(others=500) == work(others=5)
