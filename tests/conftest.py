"""Fixtures of every test folder, and the last word on what was skipped."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, settings

from tests.contract.rigs import RIGS
from tests.contract.switchboard import Trick
from tests.servers import mosquitto, redis_server, skipped_groups, valkey_server

__all__ = ["mosquitto", "redis_server", "valkey_server"]

settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # how long a machine takes says nothing of what is true

NOT_PLAYED = pytest.StashKey[set[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a rig of a switch cannot play (`tests/contract/switchboard.py`); its reason is told at the end."""
    told = config.stash[NOT_PLAYED] = set()
    left_out = []
    for item in items:
        trick = _needed(item)
        name, cannot = _rig(item)
        if trick is not None and trick in cannot:
            told.add(f"{name} cannot play {trick.value}: {cannot[trick]}")
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _needed(item: pytest.Item) -> Trick | None:
    marker = item.get_closest_marker("needs")
    if marker is None:
        return None
    needed = marker.args[0]
    return needed if isinstance(needed, Trick) else item.callspec.params[needed]


def _rig(item: pytest.Item) -> tuple[str, Mapping[Trick, str]]:
    """Of the fixture `rig`, or the `RIG` of a module that has one of its own."""
    module = getattr(item, "module", None)
    kind = item.callspec.params.get("rig") if hasattr(item, "callspec") else None
    rig = RIGS.get(kind) if kind is not None else getattr(module, "RIG", None)
    return str(kind or getattr(rig, "__name__", "")), getattr(rig, "cannot", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what this run did not test."""
    for reason in sorted(terminalreporter.config.stash.get(NOT_PLAYED, set())):
        terminalreporter.write_line(reason)
    for group, reason in skipped_groups.items():
        terminalreporter.write_line(f"!!! NOT TESTED: {group} ({reason})", red=True, bold=True)
