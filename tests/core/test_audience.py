"""Several observers as one: each is told everything that is told to one."""

import inspect

from callctl.control.audience import Audience
from callctl.ports import Observer
from tests.control_room import Notes

TOLD = [name for name, _ in inspect.getmembers(Observer, inspect.isfunction) if not name.startswith("_")]


def test_one_alone_is_asked_without_a_detour() -> None:
    alone = Notes()
    audience = Audience([alone])
    for name in TOLD:
        assert getattr(audience, name) == getattr(alone, name)


def test_each_is_told_in_order() -> None:
    both = Notes(), Notes()
    Audience(both).unexpected("ended", event="Answered")
    assert [notes.unexpected_events for notes in both] == [[("ended", "Answered")]] * 2


def test_nothing_that_can_be_told_is_left_out() -> None:
    audience = Audience([Notes(), Notes()])
    assert vars(audience).keys() == set(TOLD)
