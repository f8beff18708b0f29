"""The checks of `make fuzz`, by hypothesis: with each seed, and with seeds that are cut up, repeated and mixed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.__main__ import NAMES
from fuzz.seeds import seeds
from fuzz.targets import TARGETS


def mixed(target: str) -> st.SearchStrategy[bytes]:
    """Pieces of seeds, with anything between them."""
    known = seeds(target)
    whole = st.sampled_from(known)
    ends = st.tuples(whole, st.integers(0, 300), st.integers(0, 300)).map(lambda it: it[0][it[1] : it[1] + it[2]])
    return st.lists(st.one_of(whole, ends, st.binary(max_size=12)), max_size=5).map(b"".join)


def test_every_target_can_be_asked_for() -> None:
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("target", NAMES)
def test_a_seed_holds(target: str) -> None:
    assert seeds(target)
    for seed in seeds(target):
        TARGETS[target](seed)


@pytest.mark.parametrize("target", NAMES)
@given(data=st.data())
@settings(max_examples=40)
def test_nothing_that_is_made_of_seeds_breaks_it(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(mixed(target)))
