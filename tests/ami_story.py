"""What a switch told of one call, reduced to what matters, so that two tellings can be compared."""

from callctl.adapters.asterisk.wire import Message

# Told by the recording user's wider rights, or by AsyncAGI, which the gate does not use.
ELSEWHERE = {"Cdr", "DeviceStateChange", "VarSet", "Newexten", "TestEvent", "RTCPSent", "RTCPReceived"}
TELLING = ("ChannelStateDesc", "DialStatus", "Cause", "TechCause", "BridgeNumChannels")
Step = tuple[str, ...]


def steps(events: list[Message]) -> list[Step]:
    """The story of one call: each event, the leg that it is about, and what matters of it."""
    story = []
    caller = next(event["Channel"] for event in events if event.event == "Newchannel")
    for event in events:
        is_own = event.get("UserEvent") == "CCLimit"
        if event.event and event.event not in ELSEWHERE and "AGI" not in event.event and not is_own:
            leg = {"": "", caller: "caller"}.get(event.get("Channel"), "callee")
            story.append((event.event, leg, *(event.get(name) for name in TELLING)))
    return story


def in_two(story: list[Step]) -> tuple[list[Step], list[Step]]:
    """Up to the end of the bridge in order; the rest, whose order Asterisk varies, sorted."""
    parting = next((n for n, step in enumerate(story) if step[0] == "BridgeLeave"), len(story))
    return story[:parting], sorted(story[parting:])
