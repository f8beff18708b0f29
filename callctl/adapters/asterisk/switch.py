"""An Asterisk as a `ports.Switch`: commands become manager actions, its events are handed on as call events.

All actions of a command are written at once, without waiting for the first answer, and Asterisk carries out what one
connection asks for in order: so commands to one call are carried out in the order in which they were given. A channel
that has gone meanwhile is no failure; its `Hangup` tells the rest. Nothing is ever sent twice.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Final

import msgspec
import structlog

from callctl.accounts import WarnTo
from callctl.adapters.asterisk.legs import Legs
from callctl.adapters.asterisk.link import AmiLink, Headers, LinkCounts, LinkEvents, LinkTimes
from callctl.adapters.asterisk.rights import Rights
from callctl.adapters.asterisk.translate import STATUS_VARIABLES, Translator
from callctl.adapters.asterisk.wire import Message
from callctl.adapters.switch_time import SwitchTime
from callctl.call.events import CallKey, SeenAlive
from callctl.causes import RECOVERY_ON_TIMER, Cause
from callctl.errors import SwitchUnavailable
from callctl.ports import Capabilities, Clock, LinkState, Report

log = structlog.get_logger(__name__)

GONE: Final = ("No such channel", "Channel does not exist", "Redirect failed, channel not up")
UNKNOWN_ACTION: Final = "Invalid/unknown command"
BEEP: Final = "beep"
TAKE_OVER_AGAIN_MS: Final = 1_000
LATE_MS: Final = 1_000  # less than any dialplan waits for our answer

NO_ANSWER: Final = 19
# From the timer to the end of the call (measured: up to 15 ms). A ms more than was paid for would be another second.
CUT_TAKES_MS: Final = 50
# The Q.850 cause for which chan_pjsip sends this SIP status (measured; most others become 603). 402 cannot be had.
CAUSE_FOR_SIP: Final = {402: 21, 403: 21, 404: 3, 484: 28, 486: 17, 503: 34}

Action = tuple[str, Headers]


class Contexts(msgspec.Struct, frozen=True):
    """The contexts of docker/asterisk/extensions.conf, where an installation names them otherwise."""

    dial: str = "callctl-dial"
    refuse: str = "callctl-refuse"
    announce: str = "callctl-announce"


class AsteriskSwitch:
    """Implements `ports.SwitchAdapter`.

    `announcements`: the sound file for each announcement name of `causes.REFUSALS`; a refusal without one is told by
    its SIP status alone. `sounds`: the sound file that says that so many seconds are left; the nearest is played, and
    a beep where there is none. `is_trunk` says whether an endpoint is a trunk that callctl knows. An inbound call is
    sent to the endpoint that has the name of the account.
    """

    def __init__(
        self,
        *,
        name: str,
        host: str,
        port: int,
        username: str,
        secret: str,
        clock: Clock,
        announcements: Mapping[str, str] | None = None,
        sounds: Mapping[int, str] | None = None,
        is_trunk: Callable[[str], bool] = lambda endpoint: False,
        contexts: Contexts = Contexts(),  # noqa: B008  frozen
        tls: ssl.SSLContext | None = None,
        times: LinkTimes = LinkTimes(),  # noqa: B008  frozen
    ) -> None:
        self.name = name
        self.capabilities = Capabilities()
        self._clock = clock
        self._announcements = announcements or {}
        self._sounds = sounds or {}
        self._contexts = contexts
        self._calls = Translator(name, SwitchTime(), is_trunk)
        self._report: Report = lambda event: None
        self._connected = asyncio.Event()
        self._since_ms = clock.now().wall_ms
        self._pjsip_hangup = True
        self._announced = count(1)
        events = LinkEvents(
            on_event=self._on_event,
            on_up=self._on_up,
            on_down=self._on_down,
            on_refused=self._on_refused,
            on_pong=self._on_pong,
        )
        self._link = AmiLink(host, port, username, secret, events, tls=tls, clock=clock, times=times)
        self._rights = Rights(self._link, self._on_fault)

    # ---- its life

    async def run(self, report: Report, relinked: Callable[[], None]) -> None:
        """Keep the link until cancelled. `relinked`: it is up, and we know what channels there are."""
        self._report = report
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._take_over(relinked, group))

    def state(self) -> LinkState:
        """A link by which calls cannot be controlled is down."""
        up, faults = self._link.up, self._rights.faults
        return LinkState(self.name, up and self._rights.controls, self._since_ms, (up and faults) or self._link.detail)

    @property
    def counts(self) -> LinkCounts:
        """What the link has seen."""
        return self._link.counts

    # ---- ports.Switch

    async def admit(self, call: CallKey, *, granted_s: int, setup_s: int, b_number: str, account: str) -> None:
        """Let the call go on. The dialplan itself arms `granted_s` at the answer, and gives up after `setup_s`.

        One that has gone on without us is not dialled again; its answer may have been told before it was admitted.
        """
        legs = await self._in_step(call)
        if legs.passed:
            self._report(SeenAlive(call, self._clock.now(), legs.answered))
        if legs.emergency or legs.passed:
            return
        grant = f"{granted_s - CUT_TAKES_MS / 1000:.3f}"
        variables = {"CC_NUMBER": b_number, "CC_LIMIT": str(setup_s), "CC_GRANT": grant}
        if legs.inbound:
            variables["CC_DIAL"] = account
        await self._perform(_redirect(legs, variables, self._contexts.dial, b_number))

    async def reject(self, call: CallKey, cause: Cause) -> None:
        """Refuse the call with its SIP status, or, on an Asterisk without PJSIPHangup, the nearest one there is."""
        legs = await self._in_step(call)
        if legs.emergency:
            return
        q850 = CAUSE_FOR_SIP.get(cause.sip, cause.q850)
        announcement = self._announcements.get(cause.announcement)
        if legs.passed:
            await self.hang_up(call, q850)
        elif announcement is not None:
            said = {"CC_SIP": str(cause.sip), "CC_CAUSE": str(q850), "CC_ANNOUNCEMENT": announcement}
            await self._perform(_redirect(legs, said, self._contexts.refuse, legs.called))
        elif not await self._refused_by_status(legs, cause.sip):
            await self._perform([("Hangup", [("Channel", legs.ingress), ("Cause", q850)])])

    async def arm(self, call: CallKey, remaining_ms: int) -> None:
        """Both legs, for the limit of one ends with it: a transfer would let the other talk on."""
        legs = self._legs(call)
        if legs.emergency:
            return
        remaining_ms = max(1, remaining_ms - CUT_TAKES_MS)
        self._calls.armed(call.call_id, self._clock.now().plus_ms(remaining_ms))
        left = f"{remaining_ms / 1000:.3f}"
        await self._perform(("AbsoluteTimeout", [("Channel", leg), ("Timeout", left)]) for leg in _both(legs))

    async def warn(self, call: CallKey, left_s: int, to: WarnTo) -> None:
        """Mix a sound over the talk. Nobody is interrupted; a party that sends no RTP hears nothing."""
        legs = self._legs(call)
        target = legs.carrier if to is WarnTo.CALLEE else self._calls.caller(legs)
        if legs.emergency or target is None:
            return
        if not self._rights.warns:
            log.info("warning_not_heard", switch=self.name, call_id=call.call_id, left_s=left_s)
            return
        how = "barge" if to is WarnTo.BOTH else "whisper"
        sound = self._sounds[min(self._sounds, key=lambda told_s: abs(told_s - left_s))] if self._sounds else BEEP
        number = next(self._announced)
        headers: Headers = [
            ("Channel", f"Local/{how}@{self._contexts.announce}/n"),
            ("Application", "Playback"),
            ("Data", sound),
            ("Variable", f"CC_CHANNEL={target}"),
            ("ChannelId", f"{call.call_id}-warning-{number}-1"),
            ("OtherChannelId", f"{call.call_id}-warning-{number}-2"),
            ("Async", "true"),
        ]
        await self._perform([("Originate", headers)])

    async def hang_up(self, call: CallKey, q850: int) -> None:
        """Both legs. Of a call that rang for too long the caller sees 480, as when the dialplan gives it up."""
        legs = self._legs(call)
        q850 = NO_ANSWER if q850 == RECOVERY_ON_TIMER else q850
        if not legs.emergency:
            await self._perform(("Hangup", [("Channel", leg), ("Cause", q850)]) for leg in _both(legs))

    async def live_calls(self) -> list[SeenAlive]:
        """From the channels that Asterisk lists now; its clock is compared with ours by the way."""
        pong = await self._link.action("Ping")
        self._on_pong(pong)
        before = self._calls.known()
        channels = await self._link.query("Status", [("AllVariables", "false"), ("Variables", STATUS_VARIABLES)])
        now = self._clock.now()
        for offered in self._calls.missed(channels, now):
            self._report(offered)
        alive = self._calls.listed(channels, before, now)
        for call_id in self._calls.unheard:
            log.warning("asterisk_answer_not_told", switch=self.name, call_id=call_id)
            self._rights.unheard()
        await self._rights.look_around()
        return alive

    # ---- actions

    def _legs(self, call: CallKey) -> Legs:
        """Its channels; of a call that is not in the book (any more) what its name tells."""
        return self._calls.legs(call.call_id) or Legs(call.call_id)

    async def _in_step(self, call: CallKey) -> Legs:
        """Its channels. One that has waited for long may have gone on without us: we hear of that before the answer."""
        offered = self._legs(call).offered
        if offered is not None and self._clock.now().since_ms(offered) > LATE_MS:
            await self._link.action("Ping")
        return self._legs(call)

    async def _perform(self, actions: Iterable[Action]) -> None:
        """Ask for all of them at once. SwitchUnavailable if one was not done, though its channel lives."""
        for answer in await self._ask_all(actions):
            if not answer.succeeded and not _is_gone(answer):
                raise SwitchUnavailable(f"{self.name}: {answer.get('Message', 'an action failed')}")

    async def _ask_all(self, actions: Iterable[Action]) -> list[Message]:
        try:
            return await asyncio.gather(*[self._link.action(action, headers) for action, headers in actions])
        except ValueError as error:  # a control character, or too long a line
            raise SwitchUnavailable(f"{self.name}: {error}") from error

    async def _refused_by_status(self, legs: Legs, sip: int) -> bool:
        """Whether Asterisk knows how to refuse with a SIP status: 18.21, 20.6, 21.1 and later do.

        Of a call that is answered already it would say that it does, and do nothing.
        """
        if not self._pjsip_hangup or legs.up or not legs.channel.startswith("PJSIP/"):
            return False
        (answer,) = await self._ask_all([("PJSIPHangup", [("Channel", legs.ingress), ("Cause", sip)])])
        if answer.succeeded or _is_gone(answer):
            return True
        self._pjsip_hangup = not answer.get("Message").startswith(UNKNOWN_ACTION)
        return False

    # ---- the link

    def _on_event(self, message: Message) -> None:
        self._rights.hear(message)
        if self._calls.goes_on(message):
            log.error("asterisk_dialled_past_the_gate", switch=self.name, dialled=message.get("DestChannel"))
        for event in self._calls.translate(message, self._clock.now()):
            self._report(event)

    def _on_pong(self, pong: Message) -> None:
        self._calls.compare(pong.get("Timestamp"), self._clock.now())

    def _on_up(self) -> None:
        self._since_ms = self._clock.now().wall_ms
        self._calls.relinked()
        self._pjsip_hangup = True  # it may be another version now
        self._connected.set()
        log.info("asterisk_up", switch=self.name, version=self._link.version)

    def _on_down(self, reason: str) -> None:
        self._since_ms = self._clock.now().wall_ms
        log.warning("asterisk_down", switch=self.name, reason=reason)

    def _on_refused(self, message: str) -> None:
        self._since_ms = self._clock.now().wall_ms
        log.error("asterisk_login_refused", switch=self.name, message=message)

    def _on_fault(self, fault: str, found: bool) -> None:
        self._since_ms = self._clock.now().wall_ms
        if found:
            log.error("asterisk_rights", switch=self.name, fault=fault)
        else:
            log.info("asterisk_rights_mended", switch=self.name, fault=fault)

    async def _take_over(self, relinked: Callable[[], None], group: asyncio.TaskGroup) -> None:
        """After each connecting: learn what channels there are, so that the end of a call taken over is understood."""
        while True:
            await self._connected.wait()
            self._connected.clear()
            try:
                await self._end_forger()
                await self.live_calls()
            except SwitchUnavailable as error:
                log.warning("asterisk_channel_list_failed", switch=self.name, error=str(error))
                await self._clock.sleep_ms(TAKE_OVER_AGAIN_MS)
                if self._link.up:
                    self._connected.set()
            else:
                relinked()
                group.create_task(self._examine())

    async def _end_forger(self) -> None:
        """No list can be read while its channel is up."""
        forger, self._link.forger = self._link.forger, ""
        if forger:
            log.error("asterisk_forger_hung_up", switch=self.name, channel=forger)
            await self._perform([("Hangup", [("Channel", forger)])])

    async def _examine(self) -> None:
        """What the manager user may do and hears. A link that is lost meanwhile is examined when it is back."""
        with contextlib.suppress(SwitchUnavailable):
            await self._rights.examine()
            self.capabilities = Capabilities() if self._rights.warns else Capabilities(warns=())


def _redirect(legs: Legs, variables: Mapping[str, str], context: str, exten: str) -> list[Action]:
    """Set the variables and send the ingress channel there."""
    channel = ("Channel", legs.ingress)
    actions: list[Action] = [
        ("Setvar", [channel, ("Variable", name), ("Value", value)]) for name, value in variables.items()
    ]
    return [*actions, ("Redirect", [channel, ("Context", context), ("Exten", exten), ("Priority", 1)])]


def _both(legs: Legs) -> list[str]:
    return [leg for leg in (legs.ingress, legs.carrier) if leg is not None]


def _is_gone(answer: Message) -> bool:
    return answer.get("Message").startswith(GONE)
