"""Which channels of an Asterisk talk with which. Values in, values out."""

from collections.abc import Iterable


class Bridges:
    """Who is in which bridge, by unique id. A channel is there until it enters another, or `leave`s."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._in: dict[str, dict[str, None]] = {}  # in the order in which they came

    def __contains__(self, channel: str) -> bool:
        return channel in self._of

    def enter(self, channel: str, bridge: str) -> None:
        """An empty name is no bridge."""
        self.leave(channel)
        if bridge:
            self._of[channel] = bridge
            self._in.setdefault(bridge, {})[channel] = None

    def leave(self, channel: str) -> None:
        bridge = self._of.pop(channel, None)
        if bridge is not None:
            del self._in[bridge][channel]
            if not self._in[bridge]:
                del self._in[bridge]

    def others(self, channel: str | None) -> Iterable[str]:
        """Who talks with it."""
        there = self._in.get(self._of.get(channel or "", ""), ())
        return [other for other in there if other != channel]
