"""What our manager user may do and what it is told: Asterisk leaves out without a word what it was not told to tell."""

import asyncio
from collections.abc import Callable
from typing import Final

from callctl.adapters.asterisk.link import AmiLink
from callctl.adapters.asterisk.translate import OFFERS
from callctl.adapters.asterisk.wire import Message

CHECK: Final = "CCCheck"
HEARD_WITHIN_S: Final = 10.0

CALL_EVENTS: Final = frozenset({"DialBegin", "DialState", "DialEnd", "BridgeEnter", "HangupRequest", "Hangup"})
UNWANTED: Final = "Newchannel"
"""With this each channel begins, for a user that has no filter."""

NO_COMMANDS: Final = "no call is let through, none ended: the manager user needs `write = call`"
NO_OFFERS: Final = "no call is heard of: the manager user needs `read = user`, and an eventfilter that shows UserEvent"
NO_CALLS: Final = "no answer and no end is heard of: the manager user needs `read = call`, and the shipped eventfilter"
SHARED: Final = "calls are dialled twice: another callctl is linked to this Asterisk, too"
NO_FILTER: Final = (
    "a caller can forge events: the manager user lacks the eventfilter lines of docker/asterisk/manager.conf"
)
NO_TIMES: Final = "calls are charged by when events arrive: manager.conf needs `timestampevents = yes`"
NO_NAMES: Final = "who hung up is a guess: manager.conf needs `channelvars = CC_CALL,CC_ACCT`"
CARELESS: Final = frozenset({NO_FILTER, NO_TIMES, NO_NAMES})
"""With these calls are controlled all the same."""


class Rights:
    """Tried after each login, as far as Asterisk answers such questions, and listened for from then on.

    `warns`: it may originate the calls that whisper. `tells` hears of a fault that is found, and (False) of one that is
    gone.
    """

    def __init__(self, link: AmiLink, tells: Callable[[str, bool], None]) -> None:
        self.warns = True
        self._link = link
        self._tells = tells
        self._may_speak = False
        self._heard = asyncio.Event()
        self._hears_calls = False
        self._heard_another = False
        self._faults: set[str] = set()

    @property
    def controls(self) -> bool:
        """As far as is known."""
        return self._faults <= CARELESS

    @property
    def faults(self) -> str:
        """In words."""
        return "; ".join(sorted(self._faults))

    async def examine(self) -> None:
        """SwitchUnavailable when the link is lost meanwhile."""
        self._faults.discard(NO_FILTER)  # nobody can be asked; the next event tells
        self._hears_calls = False
        listed = await self._link.action("ListCommands")
        may = {name for name, _ in listed.pairs()}
        if "Ping" not in may:
            return  # everybody may that: this one does not say
        self.warns = "Originate" in may
        self._is(NO_COMMANDS, "Redirect" not in may)
        self._heard.clear()
        self._may_speak = "UserEvent" in may and (await self._speak()).succeeded
        if self._may_speak and not await self._hears():
            await self._link.action("Ping")  # over a link that was lost nothing could be heard
            self._is(NO_OFFERS, not self._heard.is_set())

    async def look_around(self) -> None:
        """Be heard by any other callctl that is linked to this Asterisk; one that was not heard since is gone."""
        self._is(SHARED, self._heard_another)
        self._heard_another = False
        if self._may_speak:
            await self._speak()

    async def _speak(self) -> Message:
        return await self._link.action("UserEvent", [("UserEvent", CHECK)])

    async def _hears(self) -> bool:
        try:
            async with asyncio.timeout(HEARD_WITHIN_S):
                return await self._heard.wait()
        except TimeoutError:
            return False

    def hear(self, event: Message) -> None:
        """Any event, whatever it tells."""
        if event.event == "UserEvent":
            self._heard.set()
            self._is(NO_OFFERS, False)
            if event.get("UserEvent") in OFFERS:
                self._is(NO_NAMES, "CC_CALL" not in event.variables())
            if event.get("UserEvent") == CHECK and "ActionID" in event and not self._link.asked(event):
                self._heard_another = True
                self._is(SHARED, True)
        elif event.event in CALL_EVENTS:
            self._hears_calls = True
            self._is(NO_CALLS, False)
            if event.event == "Hangup":
                self._is(NO_TIMES, "Timestamp" not in event)
        elif event.event == UNWANTED:
            self._is(NO_FILTER, True)

    def unheard(self) -> None:
        """A call was answered, and no event has told of it. Where others are heard of, this one's was lost."""
        self._is(NO_CALLS, not self._hears_calls)

    def _is(self, fault: str, found: bool) -> None:
        if found != (fault in self._faults):
            self._faults ^= {fault}
            self._tells(fault, found)
