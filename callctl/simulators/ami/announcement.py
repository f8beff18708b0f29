"""A warning whispered into a call: an Originate of a Local channel, one half playing, the other spying."""

import re

import msgspec

from callctl.simulators.ami.call import HeardWarning, SimCall
from callctl.simulators.ami.channel import DOWN, RING, UP, Channel, Headers
from callctl.simulators.ami.exchange import Exchange

_LOCAL = re.compile(r"Local/(?P<exten>\w+)@(?P<context>[\w-]+)(/n)?")


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What an Originate asked for. `target`: the channel (or unique id) in its variable CC_CHANNEL."""

    exten: str
    context: str
    target: str
    application: str
    sound: str
    action_id: Headers
    channel_id: str = ""
    other_channel_id: str = ""


def read_place(channel: str) -> tuple[str, str] | None:
    """The extension and context of a Local channel's name."""
    place = _LOCAL.fullmatch(channel)
    return (place["exten"], place["context"]) if place else None


async def announce(exchange: Exchange, asked: Announcement, calls: list[SimCall]) -> None:
    """Play the sound, as the events of a real Asterisk and as a fact on the call that hears it."""
    playing, spying = _pair(exchange, asked)
    spied = exchange.find(asked.target)
    hearing = next((call for call in calls if spied in (call.caller, call.callee)), None)
    if spied is not None and hearing is not None:
        _spy(exchange, "ChanSpyStart", spying, spied)
        hearing.warnings.append(HeardWarning(exchange.now_us(), _to(hearing, spied, asked), asked.sound))
    await exchange.clock.sleep_ms(exchange.setup.playback_ms)
    _end(exchange, playing, spying, spied)


def _to(call: SimCall, spied: Channel, asked: Announcement) -> str:
    if asked.exten == "barge":
        return "both"
    return "caller" if spied is call.caller else "callee"


def _pair(exchange: Exchange, asked: Announcement) -> tuple[Channel, Channel]:
    """The two halves appear, answer, and the originator hears that it worked."""
    place = f"{asked.exten}@{asked.context}"
    name = f"Local/{place}-{exchange.take_number():08x}"
    one = exchange.add(f"{name};1", uniqueid=asked.channel_id, state=DOWN, context=asked.context, exten=asked.exten)
    two = exchange.add(
        f"{name};2",
        uniqueid=asked.other_channel_id,
        linkedid=one.linkedid,
        state=RING,
        context=asked.context,
        exten=asked.exten,
    )
    one.application, one.data = asked.application, asked.sound
    two.application, two.data = "ChanSpy", asked.target
    shown = exchange.snapshot
    presentation = [("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")]
    for half in (one, two):
        exchange.emit("Newchannel", shown(half))
    for half in (one, two):
        exchange.emit("NewCallerid", shown(half), presentation)
        exchange.emit("NewConnectedLine", shown(half))
    bridged = [("Context", asked.context), ("Exten", asked.exten), ("LocalOptimization", "No")]
    exchange.emit("LocalBridge", shown(one, "LocalOne"), shown(two, "LocalTwo"), bridged)
    exchange.emit("DialBegin", shown(one, "Dest"), [("DialString", f"{place}/n")])
    for half in (two, one):
        half.state = UP
        exchange.emit("Newstate", shown(half))
    exchange.emit("DialEnd", shown(one, "Dest"), [("DialStatus", "ANSWER")])
    _originated(exchange, asked, one)
    two.priority = 2
    return one, two


def _originated(exchange: Exchange, asked: Announcement, one: Channel) -> None:
    answer = [
        *asked.action_id,
        ("Response", "Success"),
        ("Channel", one.name),
        ("Application", asked.application),
        ("Data", asked.sound),
        ("Reason", "4"),
        ("Uniqueid", one.uniqueid),
        ("CallerIDNum", one.caller_num),
        ("CallerIDName", one.caller_name),
    ]
    listed = [(f"ChanVariable({one.name})", f"{name}=") for name in exchange.setup.listed_variables]
    exchange.emit("OriginateResponse", answer, listed)


def _spy(exchange: Exchange, event: str, spying: Channel, spied: Channel) -> None:
    exchange.emit(event, exchange.snapshot(spying, "Spyer"), exchange.snapshot(spied, "Spyee"))


def _end(exchange: Exchange, playing: Channel, spying: Channel, spied: Channel | None) -> None:
    """The sound is over, or the switch was restarted meanwhile."""
    if exchange.find(playing.uniqueid) is not playing:
        return
    shown = exchange.snapshot
    over = [("Cause", "0"), ("Cause-txt", "Unknown")]
    exchange.emit("HangupRequest", shown(spying), over[:1])
    exchange.emit("Hangup", shown(playing), over)
    if spied is not None:
        _spy(exchange, "ChanSpyStop", spying, spied)
    exchange.emit("SoftHangupRequest", shown(spying), [("Cause", "16")])
    exchange.emit("Hangup", shown(spying), over)
    exchange.remove(playing)
    exchange.remove(spying)
