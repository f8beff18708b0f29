"""What a configuration that was read again says otherwise than the one that runs."""

from collections.abc import Iterator
from typing import NamedTuple

from callctl.settings.mistakes import Place, dotted
from callctl.settings.sections import Settings
from callctl.settings.switches import Switch
from callctl.settings.values import Section


class Difference(NamedTuple):
    """`added` and `changed`: the switches as they are to be; `removed`: names; `others`: keys of all the rest."""

    added: tuple[Switch, ...]
    changed: tuple[Switch, ...]
    removed: tuple[str, ...]
    others: tuple[str, ...]


def difference(running: Settings, read: Settings) -> Difference:
    """Switches are told apart by their names: their order does not matter."""
    before, after = ({switch.name: switch for switch in settings.switch} for settings in (running, read))
    return Difference(
        added=tuple(switch for name, switch in after.items() if name not in before),
        changed=tuple(switch for name, switch in after.items() if name in before and before[name] != switch),
        removed=tuple(name for name in before if name not in after),
        others=tuple(dotted(place) for place in _differing(running, read, ()) if place[0] != "switch"),
    )


def _differing(before: object, after: object, place: Place) -> Iterator[Place]:
    if isinstance(before, Section) and type(before) is type(after):
        for key in type(before).model_fields:
            yield from _differing(getattr(before, key), getattr(after, key), (*place, key))
    elif isinstance(before, tuple) and isinstance(after, tuple) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differing(one, other, (*place, number))
    elif before != after:
        yield place
