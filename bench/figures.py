"""A figure of the bench: what was measured, the limit that was measured in the same run, and what it should reach.

On a shared machine single runs differ by a factor of two: read the ratios and the CPU time first. Rates of two
processes (`store.admit` beside Redis, HTTP) need two free cores: where one is taken they work by turns, at half the
rate.
"""

import sys
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.table import Column, Table

HEADINGS = ("figure", "measured", "limit in this run", "ratio", "target", "")
PAGE_WIDTH = 170  # where nobody looks at a terminal


class Target(msgspec.Struct, frozen=True):
    """What a figure, or its ratio to the limit, should reach."""

    bound: float
    at_most: bool = False
    of_ratio: bool = False

    def met(self, measured: float) -> bool:
        return measured <= self.bound if self.at_most else measured >= self.bound

    def __str__(self) -> str:
        return f"{'ratio ' if self.of_ratio else ''}{'<=' if self.at_most else '>='} {_shown(self.bound)}"


class Limit(msgspec.Struct, frozen=True):
    """The same work done by something that has nothing else to do, in the unit of the figure."""

    what: str
    measured: float


class Figure(msgspec.Struct, frozen=True):
    """One line of the table. No target: for information."""

    name: str
    measured: float
    unit: str
    targets: tuple[Target, ...] = ()
    limit: Limit | None = None

    @property
    def ratio(self) -> float | None:
        return self.measured / self.limit.measured if self.limit is not None else None

    @property
    def missed(self) -> list[Target]:
        missed = []
        for target in self.targets:
            measured = self.ratio if target.of_ratio else self.measured
            if measured is None or not target.met(measured):
                missed.append(target)
        return missed


def at_least(bound: float) -> Target:
    return Target(bound)


def at_most(bound: float) -> Target:
    return Target(bound, at_most=True)


def ratio_at_least(bound: float) -> Target:
    return Target(bound, of_ratio=True)


def ratio_at_most(bound: float) -> Target:
    return Target(bound, at_most=True, of_ratio=True)


def best(rounds: Iterable[float]) -> float:
    """The quietest of some rounds of a time: what disturbs only ever adds."""
    return min(rounds)


def fastest(rounds: Iterable[float]) -> float:
    """The quietest of some rounds of a rate."""
    return max(rounds)


def percentile(sorted_values: list[float], percent: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * percent / 100))]


def show(figures: list[Figure], not_measured: list[str]) -> None:
    """The table, and loudly what was missed."""
    table = Table(*(Column(heading, no_wrap=True) for heading in HEADINGS))
    for figure in figures:
        limit, ratio = figure.limit, figure.ratio
        verdict = "[bold white on red] MISS [/]" if figure.missed else "[green]ok[/]" if figure.targets else ""
        table.add_row(
            figure.name,
            f"{_shown(figure.measured)} {figure.unit}",
            f"{_shown(limit.measured)} {figure.unit}: {limit.what}" if limit is not None else "",
            f"{ratio:.2f}" if ratio is not None else "",
            ", ".join(map(str, figure.targets)),
            verdict,
        )
    console = Console(width=None if sys.stdout.isatty() else PAGE_WIDTH)
    console.print(table)
    for reason in not_measured:
        console.print(f"[yellow]not measured:[/] {reason}")
    missed = sum(bool(figure.missed) for figure in figures)
    if missed:
        console.print(f"[bold white on red] {missed} of {len(figures)} figures MISSED their target [/]")


def as_json(figures: list[Figure], not_measured: list[str]) -> bytes:
    told = [
        {
            "figure": figure.name,
            "measured": figure.measured,
            "unit": figure.unit,
            "limit": figure.limit,
            "ratio": figure.ratio,
            "targets": [str(target) for target in figure.targets],
            "ok": not figure.missed,
        }
        for figure in figures
    ]
    return msgspec.json.encode({"figures": told, "not_measured": not_measured})


def _shown(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
