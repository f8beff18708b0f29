"""The house's rules, executed: who may import whom, where clocks are read, no float on the way of money, sizes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "callctl"
CORE = {
    "money",
    "clock",
    "numbering",
    "causes",
    "accounts",
    "errors",
    "printable",
    "call",
    "rating",
    "limits",
    "prepaid",
}
PORTS = {"ports", "promise", "turn"}
OUTER = {"cli", "http", "adapters", "sinks", "store"}
FOREIGN_TO_CORE = {"asyncio", "redis", "hiredis", "aiohttp", "structlog", "socket", "threading", "random", "logging"}
MONEY = {"money.py", "call", "rating", "limits", "prepaid", "memory", "records.py", "moving.py"}
LONGEST_FUNCTION, LONGEST_MODULE = 60, 350
CITATION = re.compile(r"`([\w/]+\.md)`(?:,\s+([A-Z][a-z]+(?: [a-zA-Z]+)*))?")  # a document, and the rule in it

MODULES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """The first folder or the module name below `callctl`."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def rooms_of(path: Path) -> set[str]:
    named = [name.split(".") for name in imports(ast.parse(path.read_text()))]
    return {parts[1] if len(parts) > 1 else "" for parts in named if parts[0] == "callctl"}


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in CORE], ids=identify)
def test_the_core_imports_nothing_outward(path: Path) -> None:
    assert rooms_of(path) <= CORE
    if room(path) != "clock":
        foreign = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
        assert not foreign & (FOREIGN_TO_CORE | {"time"})


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "control"], ids=identify)
def test_control_knows_the_core_and_the_ports(path: Path) -> None:
    assert rooms_of(path) <= CORE | PORTS | {"control"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in OUTER - {"cli"}], ids=identify)
def test_outer_rooms_do_not_know_each_other(path: Path) -> None:
    assert rooms_of(path) <= CORE | PORTS | {"", room(path)}  # "": the package itself, for its version


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "simulators"], ids=identify)
def test_simulators_stand_alone(path: Path) -> None:
    assert rooms_of(path) <= CORE | {"simulators", "ports"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) == "cli"], ids=identify)
def test_the_command_line_starts_what_it_needs_and_no_more(path: Path) -> None:
    assert not rooms_of(path) & {"adapters", "sinks", "control", "http"}


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) not in {"clock", "simulators", "cli"}], ids=identify)
def test_only_the_clock_reads_a_clock(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert "time" not in set(imports(tree))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "asyncio.sleep"}


@pytest.mark.parametrize("path", [p for p in MODULES if MONEY.intersection(p.relative_to(ROOT).parts)], ids=identify)
def test_no_float_on_the_way_of_money(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float), f"line {node.lineno}"
        if isinstance(node, ast.Name):
            assert node.id != "float", f"line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_nothing_is_too_long_to_read(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, node.name


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_what_is_cited_is_there(path: Path) -> None:
    for document, rule in CITATION.findall(path.read_text()):
        assert document.startswith("docs/"), document
        told = (ROOT.parent / document).read_text()
        assert not rule or f"**{rule}" in told, rule


@pytest.mark.parametrize("path", MODULES, ids=identify)
def test_names_say_something(path: Path) -> None:
    assert not {"utils", "helpers", "manager", "common"} & set(path.relative_to(ROOT).with_suffix("").parts)
