"""What the documents name is there, and what is there is named: links, commands, routes, metrics, CDR fields, keys."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import ProcessCollector
from pydantic import BaseModel

from callctl.causes import Refusal, cause_of
from callctl.cli import _parser
from callctl.cli.demo import SCENES
from callctl.http.metrics import Metrics
from callctl.http.schemas import AccountBody, TrunkBody
from callctl.sinks.record import COLUMNS
from tests.e2e.front_door import routes

ROOT = Path(__file__).parent.parent
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))}
CODE = "\n".join(path.read_text() for path in (ROOT / "callctl").rglob("*.py"))
OF_CARDS = {Refusal.CARD_DISABLED, Refusal.CARD_EXPIRED, Refusal.CARD_IN_USE}  # nothing refuses with them yet


def table(document: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first column is called `heading`."""
    rows = DOCUMENTS[document].partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.removeprefix("|").removesuffix("|").split("|")] for row in rows]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """The headings as GitHub links to them."""
    return {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[document]):
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, below in group.choices.items():
            yield from commands(below, f"{name} {word}")


COMMANDS = dict(commands(_parser(), "callctl"))


def test_every_command_is_named_and_there() -> None:
    assert {word for first, _ in table("docs/commands.md", "command") for word in words(first)} == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_that_a_document_uses_is_one_of_its_command(document: str) -> None:
    lines = re.findall(r"(?:\.venv/bin/|`|\$ )(callctl [a-z][^`|\n#>]*)", DOCUMENTS[document])
    for line in lines:
        said = shlex.split(line)
        name = next((n for n in (" ".join(said[:3]), " ".join(said[:2])) if n in COMMANDS), None)
        known = {option for action in COMMANDS[name]._actions for option in action.option_strings} if name else set()
        is_group = any(command.startswith(f"{' '.join(said[:2])} ") for command in COMMANDS)
        assert name or is_group, line
        assert {word.partition("=")[0] for word in said if word.startswith("-") and len(word) > 1} <= known, line


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_route_of_a_document_is_served(document: str) -> None:
    served = {(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in routes()}
    for method, path in re.findall(r"\b(GET|PUT|POST|DELETE) (/v1/[\w/{}-]*)", DOCUMENTS[document]):
        assert (method, re.sub(r"{\w+}|[A-Z-]+\b", "{}", path)) in served, (method, path)


def test_every_metric_is_named_with_its_labels() -> None:
    told: dict[str, tuple[str, ...]] = {}
    for names, labels, _ in table("docs/operations.md", "series"):
        told |= dict.fromkeys(words(names), tuple(words(labels)))
    kept = {}
    for collector in Metrics()._registry._collector_to_names:
        for family in () if isinstance(collector, ProcessCollector) else collector.collect():
            total = "_total" if family.type == "counter" else ""
            labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
            kept[family.name + total] = getattr(collector, "_labelnames", tuple(labels))
    assert told == kept


def test_every_log_line_that_operations_explain_is_written() -> None:
    for cell in re.findall(r"^\| [^|]*\blog (.*?) \|", DOCUMENTS["docs/operations.md"], re.MULTILINE):
        for event in re.findall(r"`([a-z]+[._][a-z_]+)`", cell):
            assert f'"{event}"' in CODE or event.startswith("callctl_"), event


def test_every_error_that_is_logged_is_explained() -> None:
    logged = re.findall(r"""log\.(?:error|exception|critical)\(\s*"([^"]+)\"""", CODE)
    assert len(logged) > 20
    assert {event for event in logged if f"`{event}`" not in DOCUMENTS["docs/operations.md"]} == set()


def test_every_field_of_a_record_is_named() -> None:
    rows = table("docs/cdr.md", "field")
    assert {word for first, _ in rows for word in words(first)} <= set(COLUMNS)
    assert set(COLUMNS) <= {word for row in rows for cell in row for word in words(cell)}


def test_every_refusal_is_named_in_order_with_its_codes() -> None:
    rows = table("README.md", "refusal")
    assert [word for first, *_ in rows for word in words(first)] == [r for r in Refusal if r not in OF_CARDS]
    for first, sip, q850, _ in rows:
        for word in words(first):
            out, back = cause_of(Refusal(word)), cause_of(Refusal(word), inbound=True)
            inbound = (f" ({back.sip} inbound)", f" ({back.q850})") if back != out else ("", "")
            assert (sip, q850) == (f"{out.sip}{inbound[0]}", f"{out.q850}{inbound[1]}"), word


def keys(kind: object) -> Iterator[tuple[str, str]]:
    """Every key of a body and of what is within it, each with the type that has it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield field.alias or name, kind.__name__
            yield from keys(field.annotation)
    for inner in get_args(kind):
        yield from keys(inner)


def test_every_key_of_a_body_is_named_somewhere() -> None:
    text = "\n".join(DOCUMENTS.values())
    bodies = {key: kind for route in routes() for key, kind in keys(route.body)}
    assert len(bodies) > 100
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`|\"\w+\"", text))))
    assert {key: kind for key, kind in bodies.items() if key not in named} == {}


@pytest.mark.parametrize(("heading", "body"), [("An account", AccountBody), ("A trunk", TrunkBody)])
def test_every_key_of_a_definition_is_named(heading: str, body: type[BaseModel]) -> None:
    section = DOCUMENTS["docs/configuration.md"].partition(f"## {heading}\n")[2].partition("\n## ")[0]
    named = {word for first in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for word in words(first)}
    assert named == {field.alias or name for name, field in body.model_fields.items()}


def test_the_demo_has_as_many_calls_as_promised() -> None:
    assert f"{len(SCENES)} calls authorized" in DOCUMENTS["README.md"]
