"""One call of a test phone: its dialog, its sound and its times."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from tests.switches.sip.ear import Ear, Heard
from tests.switches.sip.message import Headers, Message, audio_offer
from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from tests.switches.sip.phone import Phone

_REASONS = {180: "Ringing", 200: "OK", 302: "Moved Temporarily"}


class Call:
    """One call of a phone, either way."""

    def __init__(self, phone: Phone, call_id: str, number: str, ear: Ear, *, incoming: bool) -> None:
        """Made by `Phone`."""
        self.phone = phone
        self.call_id = call_id
        self.number = number
        self.ear = ear
        self.incoming = incoming
        self.trying = False  # the switch has the INVITE
        self.provisional: list[int] = []
        self.status: int | None = None  # the final answer to the INVITE
        self.caller = ""  # of an incoming call, as its From header has it
        self.reason = ""  # the Reason header of what ended the call
        self.ended_by: str | None = None  # "us" or "them"
        self.began_at = time.time()
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self._answered, self._ended = asyncio.Event(), asyncio.Event()
        self._sequence = 1
        self._local = self._remote = self._target = ""
        self._route: Headers = ()  # of a dialog through proxies (RFC 3261, 12.1)
        self._invite = Message("", ())
        self._direction = "sendrecv"
        self._answers: dict[str, list[int]] = {}

    @property
    def heard(self) -> list[Heard]:
        """What the phone heard so far, in windows of 250 ms."""
        return self.ear.heard()

    @property
    def talked_s(self) -> float:
        """From the answer to the end; only of a call that had both."""
        assert self.answered_at is not None, "never answered"
        assert self.ended_at is not None, "not ended"
        return self.ended_at - self.answered_at

    async def until_answered(self, within_s: float = PATIENCE_S) -> None:
        """Wait for the answer; AssertionError if the call ended instead, TimeoutError if nothing happened."""
        waits = [asyncio.create_task(event.wait()) for event in (self._answered, self._ended)]
        try:
            done, _ = await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not done:
            raise TimeoutError(f"no answer within {within_s} s, only {self.provisional}")
        assert self._answered.is_set(), f"refused with {self.status}"

    async def until_ended(self, within_s: float = PATIENCE_S) -> None:
        """Wait until the call is over: refused, cancelled or hung up by either side."""
        await asyncio.wait_for(self._ended.wait(), within_s)

    async def answer(self, headers: Headers = ()) -> None:
        """Take an incoming call."""
        if self.status is None:
            self._respond(self._invite, 200, headers, sdp=True)
            self._took(200)

    def ring(self) -> None:
        """Tell the caller of an incoming call that it rings."""
        if self.status is None:
            self._respond(self._invite, 180)

    def refuse(self, status: int, contact: str | None = None) -> None:
        """Turn an incoming call away; 302 with the `contact` that the caller should try."""
        if self.status is None:
            self._respond(self._invite, status, contact=contact)
            self.status = status
            self._over("us")

    async def hang_up(self) -> None:
        """End the call whatever it is doing: BYE, CANCEL, or 603 to one that rings here."""
        if self._ended.is_set():
            return
        if self._answered.is_set():
            self._request("BYE")
            self._over("us")
        elif self.incoming:
            self.refuse(603)
        else:
            self.ended_by = "us"
            self._follow_up("CANCEL", self._invite.all("to"))
            await self.until_ended()

    def answer_again(self, *, fork: str = "") -> None:
        """Send the 200 of an incoming call once more, as if its ACK had been lost, or as if another phone answered."""
        self._local += fork
        self._respond(self._invite, 200, sdp=True)
        self._local = self._local.removesuffix(fork)

    def invite_again(self) -> None:
        """Send the first INVITE once more, as a new transaction."""
        changed = {"via": self.phone.via(), "cseq": f"{self._sequence + 100} INVITE"}
        headers = tuple((name, changed.get(name, value)) for name, value in self._invite.headers)
        self.phone.send(Message(self._invite.first, headers, self._invite.body))

    def progress(self) -> None:
        """The caller of an incoming call hears what we say before we answer."""
        self._respond(self._invite, 183, sdp=True)

    def hold(self, *, held: bool = True) -> None:
        """Send a re-INVITE that lets the other side hear us and not be heard; or, once more, be heard."""
        self._direction = "sendonly" if held else "sendrecv"
        self.offer_again()

    def offer_again(self) -> None:
        """Send a re-INVITE."""
        self._request("INVITE", sdp=True)

    def forge(
        self, method: str, *, target: str = "", tag: str = "", cseq: int | None = None, headers: Headers = ()
    ) -> None:
        """Send a request that strays from the call: to another `target`, with another tag of the other side."""
        target, self._target = self._target, target or self._target
        remote, self._remote = self._remote, f"{self._remote.partition(';tag=')[0]};tag={tag}" if tag else self._remote
        self._request(method, headers, sdp=method == "INVITE", sequence=cseq)
        self._target, self._remote = target, remote

    def transfer(self, number: str) -> None:
        """Ask the switch to connect the other side with `number` (REFER)."""
        target = f"<sip:{number}@{self.phone.switch[0]}:{self.phone.switch[1]}>"
        self._request("REFER", (("refer-to", target),))

    def answers_to(self, method: str) -> list[int]:
        """The final statuses of our requests of this method."""
        return self._answers.get(method, [])

    # ---------------------------------------------------------------- used by Phone

    def invite(self, caller: str, authorization: str = "") -> None:
        """Send the INVITE; a second time with the credentials that were asked for."""
        host, port = self.phone.switch
        whole = self.number.startswith(("urn:", "tel:"))
        self._target = self.number if whole else f"sip:{self.number}@{host}:{port}"
        if not authorization:
            address = caller if "<" in caller else f"<sip:{caller}@{self.phone.address}>"
            self._local = f"{address};tag={secrets.token_hex(4)}"
            self._remote = f"<{self._target}>"
        else:
            self._sequence += 1
        extra = (("authorization", authorization),) if authorization else ()
        self._invite = self._request("INVITE", extra, sdp=True, sequence=self._sequence)

    def on_invite(self, invite: Message) -> None:
        """Begin as an incoming call."""
        self._invite, self.caller = invite, invite["from"]
        self._local, self._remote = f"{invite['to']};tag={secrets.token_hex(4)}", invite["from"]
        self._target = invite.contact
        self._route = _routes(invite)
        if invite.media:
            self.ear.connect(invite.media)

    def on_request(self, request: Message) -> None:
        """A request of the switch within this call."""
        if request.method == "ACK":
            return
        if request.method == "INVITE":  # a resent one, or a re-INVITE
            if self._answered.is_set():
                self._respond(request, 200, sdp=True)
            return
        self._respond(request, 200)
        if request.method == "UPDATE":
            self._target = request.contact
        if request.method == "CANCEL" and self.status is None:
            self.reason = request["reason"]
            self._respond(self._invite, 487)
            self.status = 487
            self._over("them")
        elif request.method == "BYE":
            self.reason = request["reason"]
            self._over("them")

    def on_response(self, response: Message) -> None:
        """An answer of the switch to one of our requests."""
        status = response.status
        assert status is not None
        if status >= 200:
            self._answers.setdefault(response.method, []).append(status)
        if response.method != "INVITE":
            return
        if response.media:
            self.ear.connect(response.media)
        if status < 200:
            self.trying = True
            if status > 100:
                self.provisional.append(status)
            return
        if status < 300:
            self._remote, self._target = response["to"], response.contact
            if self.status is None:  # a re-INVITE changes no route
                self._route = _routes(response)[::-1]
            self._request("ACK", sequence=int(response["cseq"].split()[0]))
            if self.status is None:
                self._took(status)
            return
        self._follow_up("ACK", response.all("to"))
        challenge = response["www-authenticate"]
        if status == 401 and self.phone.password and not self._invite["authorization"]:
            self.invite("", self.phone.credentials(challenge, "INVITE", self._target))
        elif self.status is None:
            self.status, self.reason = status, response["reason"]
            self._over(self.ended_by or "them")

    # ---------------------------------------------------------------- our own

    def _took(self, status: int) -> None:
        self.status, self.answered_at = status, time.time()
        self._answered.set()

    def _over(self, by: str) -> None:
        if not self._ended.is_set():
            self.ended_by, self.ended_at = by, time.time()
            self._ended.set()

    def _request(
        self,
        method: str,
        extra: Headers = (),
        *,
        sdp: bool = False,
        sequence: int | None = None,
    ) -> Message:
        if sequence is None:
            self._sequence += 1
            sequence = self._sequence
        headers = (
            ("via", self.phone.via()),
            ("from", self._local),
            ("to", self._remote),
            ("call-id", self.call_id),
            ("cseq", f"{sequence} {method}"),
            ("contact", self.phone.contact),
            ("max-forwards", "70"),
            *self._route,
            *extra,
        )
        return self._send(Message(f"{method} {self._target} SIP/2.0", headers), sdp=sdp)

    def _follow_up(self, method: str, to: Headers) -> None:
        """CANCEL, or the ACK of a refusal: part of the INVITE's own transaction."""
        headers = (
            *self._invite.all("via"),
            *self._invite.all("from"),
            *to,
            ("call-id", self.call_id),
            ("cseq", f"{self._sequence} {method}"),
            ("max-forwards", "70"),
        )
        self.phone.send(Message(self._invite.first.replace("INVITE", method, 1), headers))

    def _respond(
        self, request: Message, status: int, extra: Headers = (), *, sdp: bool = False, contact: str | None = None
    ) -> None:
        headers = (
            *request.all("via"),
            *request.all("record-route"),
            *request.all("from"),
            ("to", self._local),
            ("call-id", self.call_id),
            ("cseq", request["cseq"]),
            ("contact", f"<{contact}>" if contact else self.phone.contact),
            *extra,
        )
        self._send(Message(f"SIP/2.0 {status} {_REASONS.get(status, 'Refused')}", headers), sdp=sdp)

    def _send(self, message: Message, *, sdp: bool) -> Message:
        if sdp:
            typed = (*message.headers, ("content-type", "application/sdp"))
            message = Message(message.first, typed, audio_offer(self.phone.address, self.ear.port, self._direction))
        self.phone.send(message)
        return message


def _routes(message: Message) -> Headers:
    return tuple(("route", value) for _, value in message.all("record-route"))
