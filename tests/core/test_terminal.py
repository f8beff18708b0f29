"""Tables of commands: however long they are, they look as rich draws them, and cost no more than their lines."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from callctl.cli import terminal
from callctl.cli.terminal import print_table, table
from tests.effort import calls

CELL = st.one_of(st.none(), st.integers(), st.text(max_size=12).map(str.strip))
COLUMNS = ("account", "", "balance")
ROWS = st.lists(st.tuples(CELL, CELL, CELL), max_size=5)


def printed(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[object, ...]]) -> str:
    out = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", out)
        print_table(COLUMNS, rows, right=("balance",))
    return out.getvalue()


@given(ROWS)
def test_what_is_no_terminal_gets_what_rich_draws(rows: list[tuple[object, ...]]) -> None:
    drawn = io.StringIO()
    Console(file=drawn, width=1000, highlight=False).print(table(COLUMNS, rows, right=("balance",)))
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert printed(monkeypatch, rows) == drawn.getvalue()


def test_an_output_without_lines_to_draw_with_gets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", latin)
    print_table(("account",), [("café",)])
    latin.seek(0)
    assert latin.read().splitlines() == ["account", "-------", "café   "]


def test_a_long_table_is_not_left_to_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which calls 500 functions for a row."""
    few, many = (calls(lambda n=n: printed(monkeypatch, [("a", None, "1")] * n)) for n in (10, 110))
    assert (many - few) / 100 < 50


def test_people_are_shown_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" in printed(monkeypatch, [("a", None, "1")])
    monkeypatch.setattr(terminal, "_READ_AT_MOST", 0)
    assert "\x1b[1m" not in printed(monkeypatch, [("a", None, "1")])
