"""Fixtures of every test folder, and the last word on what was skipped."""

import pytest

from tests.servers import mosquitto, redis_server, skipped_groups, valkey_server

__all__ = ["mosquitto", "redis_server", "valkey_server"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what this run did not test."""
    for group, reason in skipped_groups.items():
        terminalreporter.write_line(f"!!! NOT TESTED: {group} ({reason})", red=True, bold=True)
