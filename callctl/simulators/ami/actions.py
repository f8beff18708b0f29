"""What the manager actions do to the exchange, answered in Asterisk's own words."""

import re
from collections.abc import Callable

import msgspec

from callctl.simulators.ami.announcement import Announcement, read_place
from callctl.simulators.ami.channel import UP, Channel, Ending, Headers, cause_of_sip
from callctl.simulators.ami.dialplan import refusal_status, to_number, to_seconds
from callctl.simulators.ami.exchange import Block, Exchange, format_us
from callctl.simulators.ended import EndedBy

NO_CHANNEL = "No such channel"
_BETWEEN_VARIABLES = re.compile(r",(?![^()]*\))")


class Action:
    """An action as it was sent. Asterisk knows header names in any case and takes the first of a name."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def __repr__(self) -> str:
        return f"Action({self._headers!r})"

    def __getitem__(self, name: str) -> str:
        return next((value for header, value in self._headers if header.lower() == name.lower()), "")

    @property
    def id(self) -> Headers:
        return [("ActionID", self["ActionID"])] if self["ActionID"] else []

    def variables(self) -> dict[str, str]:
        """`Variable: A=1,B=2`, the header repeated or not."""
        values = [value for header, value in self._headers if header.lower() == "variable"]
        settings = [setting.partition("=") for value in values for setting in value.split(",")]
        return {name: value for name, equals, value in settings if equals}

    def success(self, message: str, headers: Headers | None = None) -> list[Block]:
        text = [("Message", message)] if message else []
        return [[("Response", "Success"), *self.id, *text, *(headers or [])]]

    def error(self, message: str) -> list[Block]:
        return [[("Response", "Error"), *self.id, ("Message", message)]]


class Rule(msgspec.Struct, frozen=True):
    """Who may send an action (any of these write classes; none: everybody), and what it does."""

    write: frozenset[str]
    perform: Callable[[Action], list[Block]]

    def allows(self, write: frozenset[str]) -> bool:
        return not self.write or bool(self.write & write)


class Actions:
    """The table of actions over one exchange. `originate` starts an announcement."""

    def __init__(self, exchange: Exchange, originate: Callable[[Announcement], None]) -> None:
        self._exchange = exchange
        self._originate = originate
        self.asked: list[Action] = []
        """Every action of a user who is logged in, in order."""
        call, report = frozenset({"call"}), frozenset({"call", "reporting"})
        self._rules = {
            "Ping": Rule(frozenset(), self._ping),
            "Setvar": Rule(call, self._setvar),
            "Getvar": Rule(report, self._getvar),
            "Redirect": Rule(call, self._redirect),
            "AbsoluteTimeout": Rule(call | {"system"}, self._absolute_timeout),
            "Hangup": Rule(call | {"system"}, self._hangup),
            "Status": Rule(report | {"system"}, self._status),
            "CoreShowChannels": Rule(frozenset({"system", "reporting"}), self._core_show_channels),
            "Originate": Rule(frozenset({"originate"}), self._originate_local),
            "UserEvent": Rule(frozenset({"user"}), self._user_event),
        }
        if exchange.setup.is_modern:
            self._rules["PJSIPHangup"] = Rule(call | {"system"}, self._pjsip_hangup)
        self._names = {name.lower(): name for name in ("ListCommands", *self._rules)}

    def perform(self, action: Action, write: frozenset[str]) -> list[Block]:
        """The blocks that answer `action` of a user with these write classes."""
        self.asked.append(action)
        name = self._names.get(action["Action"].lower(), action["Action"])
        if name == "ListCommands":
            return action.success("", [(known, "...") for known, rule in self._rules.items() if rule.allows(write)])
        rule = self._rules.get(name)
        if rule is None:
            hint = "Use Action: ListCommands to show available commands."
            return action.error(f"Invalid/unknown command: {name}. {hint}")
        if not rule.allows(write):
            return action.error("Permission denied")
        return rule.perform(action)

    def _ping(self, action: Action) -> list[Block]:
        now = ("Timestamp", format_us(self._exchange.now_us()))
        return [[("Response", "Success"), *action.id, ("Ping", "Pong"), now]]

    def _user_event(self, action: Action) -> list[Block]:
        self._exchange.emit("UserEvent", [("UserEvent", action["UserEvent"])], action.id, of="user")
        return action.success("Event Sent")

    def _find(self, action: Action) -> Channel | None:
        return self._exchange.find(action["Channel"])

    def _setvar(self, action: Action) -> list[Block]:
        if not action["Variable"]:
            return action.error("No variable specified")
        channel = self._find(action)
        if channel is None:
            return action.error(NO_CHANNEL)
        if action["Variable"] == "TIMEOUT(absolute)":
            self._exchange.arm(channel, to_seconds(action["Value"]))
        else:
            channel.set_variable(action["Variable"], action["Value"])
        return action.success("Variable Set")

    def _getvar(self, action: Action) -> list[Block]:
        channel = self._find(action)
        if channel is None:
            return action.error(NO_CHANNEL)
        name = action["Variable"]
        value = self._evaluate(channel, name)
        return action.success("", [("Variable", name), ("Value", value or "")])

    def _redirect(self, action: Action) -> list[Block]:
        for needed in ("Channel", "Context", "Exten", "Priority"):
            if not action[needed]:
                return action.error(f"{needed} not specified")
        channel = self._find(action)
        if channel is None:
            return action.error(f"Channel does not exist: {action['Channel']}")
        if not channel.goto.done():
            channel.goto.set_result((action["Context"], action["Exten"]))
        return action.success("Redirect successful")

    def _absolute_timeout(self, action: Action) -> list[Block]:
        timeout_s = to_seconds(action["Timeout"])
        if not action["Channel"]:
            return action.error("No channel specified")
        if not timeout_s:
            return action.error("No timeout specified")
        channel = self._find(action)
        if channel is None:
            return action.error(NO_CHANNEL)
        self._exchange.arm(channel, timeout_s)
        return action.success("Timeout Set")

    def _hangup(self, action: Action) -> list[Block]:
        if not action["Channel"]:
            return action.error("No channel specified")
        channel = self._find(action)
        if channel is None:
            return action.error(NO_CHANNEL)
        without_cause = 16 if channel.state == UP else 0
        channel.end(Ending(EndedBy.CONTROLLER, to_number(action["Cause"], without_cause)))
        return action.success("Channel Hungup")

    def _pjsip_hangup(self, action: Action) -> list[Block]:
        """Confirmed on an answered call too, where a real Asterisk does nothing."""
        if not action["Channel"]:
            return action.error("No channel specified")
        channel = self._find(action)
        if channel is None:
            return action.error(NO_CHANNEL)
        if channel.state != UP:
            status = refusal_status(action["Cause"])
            channel.end(Ending(EndedBy.CONTROLLER, cause_of_sip(status), status))
        return action.success("Channel Hungup")

    def _status(self, action: Action) -> list[Block]:
        one = self._find(action) if action["Channel"] else None
        if action["Channel"] and one is None:
            return action.error(NO_CHANNEL)
        wanted = [name for name in _BETWEEN_VARIABLES.split(action["Variables"]) if name]
        events = [self._status_of(channel, wanted) + action.id for channel in ([one] if one else self._exchange)]
        complete = [("Event", "StatusComplete"), *action.id, ("EventList", "Complete")]
        count = str(len(events))
        start = [("Response", "Success"), *action.id, ("EventList", "start")]
        return [
            [*start, ("Message", "Channel status will follow")],
            *events,
            [*complete, ("ListItems", count), ("Items", count)],
        ]

    def _status_of(self, channel: Channel, wanted: list[str]) -> Block:
        limit_ms = channel.limit_at_ms
        values = [(name, self._evaluate(channel, name)) for name in wanted]
        return [
            ("Event", "Status"),
            ("Privilege", "Call"),
            *self._exchange.snapshot(channel),
            ("Type", channel.name.partition("/")[0]),
            ("DNID", channel.exten if channel.application != "AppDial" else ""),
            ("EffectiveConnectedLineNum", channel.connected_num),
            ("EffectiveConnectedLineName", channel.connected_name),
            ("TimeToHangup", "0" if limit_ms is None else str(limit_ms // 1_000)),
            ("BridgeID", channel.bridge_id),
            ("Application", channel.application),
            ("Data", channel.data),
            ("Nativeformats", "(ulaw)"),
            ("Readformat", "ulaw"),
            ("Readtrans", ""),
            ("Writeformat", "ulaw"),
            ("Writetrans", ""),
            ("Callgroup", "0"),
            ("Pickupgroup", "0"),
            ("Seconds", str(self._age_s(channel))),
            *(("Variable", f"{name}={'(null)' if value is None else value}") for name, value in values),
        ]

    def _core_show_channels(self, action: Action) -> list[Block]:
        events = [self._core_channel(action, channel) for channel in self._exchange]
        start = [("Response", "Success"), *action.id, ("EventList", "start")]
        complete = [("Event", "CoreShowChannelsComplete"), *action.id, ("EventList", "Complete")]
        return [
            [*start, ("Message", "Channels will follow")],
            *events,
            [*complete, ("ListItems", str(len(events)))],
        ]

    def _core_channel(self, action: Action, channel: Channel) -> Block:
        minutes, seconds = divmod(self._age_s(channel), 60)
        return [
            ("Event", "CoreShowChannel"),
            *action.id,
            *self._exchange.snapshot(channel),
            ("Application", channel.application),
            ("ApplicationData", channel.data),
            ("Duration", f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"),
            ("BridgeId", channel.bridge_id),
        ]

    def _originate_local(self, action: Action) -> list[Block]:
        place = read_place(action["Channel"])
        if place is None:
            return action.error("Channel not specified" if not action["Channel"] else "Invalid channel")
        asked = Announcement(
            exten=place[0],
            context=place[1],
            target=action.variables().get("CC_CHANNEL", ""),
            application=action["Application"],
            sound=action["Data"],
            action_id=action.id,
            channel_id=action["ChannelId"],
            other_channel_id=action["OtherChannelId"],
        )
        self._originate(asked)
        return action.success("Originate successfully queued")

    def _age_s(self, channel: Channel) -> int:
        return max(0, self._exchange.clock.now().wall_ms - channel.created_ms) // 1_000

    def _evaluate(self, channel: Channel, name: str) -> str | None:
        """A variable or one of the functions a rebuild asks for; None where it is unset."""
        now_ms, answered_us = self._exchange.clock.now().wall_ms, channel.answered_us
        match name:
            case "TIMEOUT(absolute)":
                left_ms = 0 if channel.limit_at_ms is None else channel.limit_at_ms - now_ms
                return f"{left_ms / 1_000:.3f}" if left_ms > 0 else "0"
            case "CDR(answer,u)":
                return format_us(answered_us or 0)
            case "CDR(billsec,f)":
                return format_us(0 if answered_us is None else max(0, now_ms * 1_000 - answered_us))
            case "CHANNEL(accountcode)":
                return channel.account
            case "CHANNEL(pjsip,call-id)":
                return channel.sip_call_id
            case "BRIDGEPEER":
                return channel.bridge_peer or None
            case _:
                return channel.variables.get(name)
