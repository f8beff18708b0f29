"""The api commands, answered as a real FreeSWITCH answers them."""

import json
from collections.abc import Callable
from urllib.parse import quote

from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.causes import CAUSES, cause_named
from callctl.simulators.esl.channel import Channel, Route
from callctl.simulators.esl.core import Core

NO_CHANNEL = "-ERR No such channel!\n"
Heard = Callable[[Channel, str], None]


class Commands:
    """`heard` is told of every sound mixed into a leg: the leg that hears it, and the sound."""

    def __init__(self, core: Core, heard: Heard) -> None:
        self._core = core
        self._heard = heard
        self.done: list[str] = []
        """Every command that was asked for, in order."""
        self._commands: dict[str, Callable[[str], str]] = {
            "status": lambda _: "UP 0 years, 0 days\nFreeSWITCH (Version 1.11.1-release  64bit) is ready\n",
            "global_getvar": lambda name: core.uuid if name == "core_uuid" else "",
            "show": self._show,
            "uuid_exists": lambda leg: "true" if core.find(leg) else "false",
            "uuid_dump": self._dump,
            "uuid_getvar": self._getvar,
            "uuid_setvar": self._setvar,
            "uuid_setvar_multi": self._setvar_multi,
            "uuid_transfer": self._transfer,
            "uuid_kill": self._kill,
            "uuid_displace": self._displace,
            "sched_api": self._sched_api,
            "sched_hangup": self._sched_hangup,
            "sched_del": lambda group: f"+OK Deleted: {core.unschedule(group)}\n",
            "hupall": self._hupall,
        }
        core.execute = self.carry_out

    def execute(self, command: str) -> str:
        """The answer to one command, as it is on the wire."""
        self.done.append(command)
        return self.carry_out(command)

    def carry_out(self, command: str) -> str:
        """The same, for the switch itself: nobody has asked."""
        name, _, arguments = command.partition(" ")
        if name in self._core.faults.fail_api:
            return "-ERR Operation Failed\n"
        carry_out = self._commands.get(name)
        return carry_out(arguments) if carry_out is not None else f"-ERR {name} Command not found!\n"

    def run_application(self, leg: Channel, application: str) -> None:
        """What `execute_on_answer` may say."""
        name, _, data = application.partition(" ")
        if name == "sched_hangup":
            when, _, cause = data.partition(" ")
            self._core.schedule(when, leg.uuid, f"uuid_kill {leg.uuid} {cause or 'ALLOTTED_TIMEOUT'}")
        elif name == "set":
            variable, _, value = data.partition("=")
            leg.set_variable(variable, value)

    # ---- lists

    def _show(self, arguments: str) -> str:
        what, _, form = arguments.partition(" ")
        rows = self._tasks() if what == "tasks" else [_row(leg) for leg in self._core.listed()]
        if form != "as json":
            return f"\n{len(rows)} total.\n"
        if not rows:
            return '{"row_count": 0}\n'
        return _json({"row_count": len(rows), "rows": rows}) + "\n"

    def _tasks(self) -> list[dict[str, str]]:
        named = ("task_id", "task_desc", "task_group", "task_runtime", "task_sql_manager", "hostname")
        tasks = self._core.tasks
        values = [(str(task.id), "sched_api_function", task.group, str(task.due_s), "0", "sim") for task in tasks]
        return [dict(zip(named, row, strict=True)) for row in values]

    def _dump(self, arguments: str) -> str:
        uuid, _, form = arguments.partition(" ")
        leg = self._core.find(uuid)
        if leg is None:
            return NO_CHANNEL
        stamp = {"Core-UUID": self._core.uuid, "Event-Date-Timestamp": str(self._core.now_us())}
        told = {"Event-Name": "CHANNEL_DATA", **stamp, **leg.headers()}
        if form == "json":
            return _json(told)
        return "".join(f"{name}: {quote(str(value), safe='/, ')}\n" for name, value in told.items()) + "\n"

    # ---- one leg

    def _getvar(self, arguments: str) -> str:
        uuid, _, name = arguments.partition(" ")
        leg = self._core.find(uuid)
        return NO_CHANNEL if leg is None else leg.variables.get(name, "_undef_")

    def _setvar(self, arguments: str) -> str:
        uuid, _, assigned = arguments.partition(" ")
        name, _, value = assigned.partition(" ")
        return self._set(uuid, {name: value})

    def _setvar_multi(self, arguments: str) -> str:
        uuid, _, assigned = arguments.partition(" ")
        pairs = [pair.partition("=") for pair in assigned.split(";")]
        return self._set(uuid, {name: value for name, _, value in pairs})

    def _set(self, uuid: str, variables: dict[str, str]) -> str:
        leg = self._core.find(uuid)
        if leg is None:
            return NO_CHANNEL
        for name, value in variables.items():
            leg.set_variable(name, value)
        return "+OK\n"

    def _transfer(self, arguments: str) -> str:
        uuid, *rest = arguments.split(" ")
        leg = self._core.find(uuid)
        if leg is None:
            return NO_CHANNEL
        if len(rest) != 3 or rest[0].startswith("-"):
            return "-USAGE: <uuid> [-bleg|-both] <dest-exten> [<dialplan>] [<context>]\n"
        leg.send_to(Route(rest[0], rest[2]))
        return "+OK\n"

    def _kill(self, arguments: str) -> str:
        uuid, _, cause = arguments.partition(" ")
        leg = self._core.find(uuid)
        if leg is None:
            return NO_CHANNEL
        leg.end(cause_named(cause), EndedBy.CONTROLLER)
        return "+OK\n"

    def _displace(self, arguments: str) -> str:
        uuid, _, what = arguments.partition(" ")
        leg = self._core.find(uuid)
        if leg is None:
            return "-ERR Cannot locate session!\n"
        verb, sound, limit, *flags = [*what.split(" "), "", "", ""][:4]
        if verb != "start" or limit != "0" or flags != ["mux"]:
            return "-ERR Cannot displace session!\n"
        if not leg.is_answered:
            leg.is_early = True
        self._heard(leg, sound)
        return "+OK Success\n"

    def _hupall(self, cause: str) -> str:
        for leg in self._core:
            leg.end(cause_named(cause), EndedBy.CONTROLLER)
        return "+OK hangup all channels\n"

    # ---- the scheduler

    def _sched_api(self, arguments: str) -> str:
        when, _, rest = arguments.partition(" ")
        group, _, command = rest.partition(" ")
        if not command:
            return "-ERR Invalid syntax. USAGE: [+@]<time> <group_name> <command_string>\n"
        return f"+OK Added: {self._core.schedule(when, group, command).id}\n"

    def _sched_hangup(self, arguments: str) -> str:
        when, _, rest = arguments.partition(" ")
        uuid, _, cause = rest.partition(" ")
        if self._core.find(uuid) is None:
            return NO_CHANNEL
        self._core.schedule(when, uuid, f"uuid_kill {uuid} {cause if cause in CAUSES else 'NORMAL_CLEARING'}")
        return "+OK\n"


def _json(value: object) -> str:
    """As FreeSWITCH prints it: what is no UTF-8 goes out as it came in."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _row(leg: Channel) -> dict[str, str]:
    """A leg in `show channels`."""
    return {
        "uuid": leg.uuid,
        "direction": leg.direction,
        "created_epoch": str(leg.created_us // 1_000_000),
        "name": leg.name,
        "state": leg.state,
        "cid_name": leg.caller_name,
        "cid_num": leg.caller_number,
        "ip_addr": leg.source_ip,
        "dest": leg.exten,
        "application": leg.variables.get("current_application", ""),
        "dialplan": "XML",
        "context": leg.context,
        "hostname": "sim",
        "accountcode": leg.variables.get("accountcode", ""),
        "callstate": leg.call_state,
        "call_uuid": leg.originator.uuid if leg.originator else leg.uuid,
        "initial_cid_name": leg.caller_name,
        "initial_cid_num": leg.caller_number,
        "initial_ip_addr": leg.source_ip,
        "initial_dest": leg.initial.exten,
        "initial_dialplan": "XML",
        "initial_context": leg.initial.context,
    }
