"""The legs of live calls. Values in, values out: no I/O, no clock."""

from collections.abc import Iterator

from msgspec.structs import replace

from callctl.adapters.freeswitch.legs import Legs


class Book:
    """Calls by name and by each leg. One leg may be the carrier of a call and the ingress of another."""

    def __init__(self) -> None:
        self._calls: dict[str, Legs] = {}
        self._by_ingress: dict[str, str] = {}
        self._by_carrier: dict[str, str] = {}

    def __iter__(self) -> Iterator[Legs]:
        return iter(tuple(self._calls.values()))

    def get(self, call_id: str) -> Legs | None:
        return self._calls.get(call_id)

    def ids(self) -> frozenset[str]:
        return frozenset(self._calls)

    def of_ingress(self, leg: str) -> Legs | None:
        """The call that the leg has asked for, and is in."""
        return self._calls.get(self._by_ingress.get(leg, ""))

    def of_carrier(self, leg: str) -> Legs | None:
        """The call that the leg has answered."""
        return self._calls.get(self._by_carrier.get(leg, ""))

    def remember(self, legs: Legs) -> None:
        before = self._calls.get(legs.call_id)
        if before is not None and before.carrier is not None and before.carrier != legs.carrier:
            self._by_carrier.pop(before.carrier, None)
        self._calls[legs.call_id] = legs
        if not legs.left:
            self._by_ingress[legs.ingress] = legs.call_id
        if legs.carrier is not None:
            self._by_carrier[legs.carrier] = legs.call_id

    def leave(self, legs: Legs) -> None:
        """The ingress leg is in the call no more; the carrier leg is."""
        self._by_ingress.pop(legs.ingress, None)
        self._calls[legs.call_id] = replace(legs, left=True)

    def forget(self, call_id: str) -> None:
        legs = self._calls.pop(call_id, None)
        if legs is None:
            return
        if self._by_ingress.get(legs.ingress) == call_id:
            del self._by_ingress[legs.ingress]
        if legs.carrier is not None and self._by_carrier.get(legs.carrier) == call_id:
            del self._by_carrier[legs.carrier]
