"""The OpenAPI document, made from the routes and their types, and a page that shows it without asking any host."""

import html
import re
from collections.abc import Sequence
from types import UnionType
from typing import Any, cast, get_args

import msgspec
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core.core_schema import WithDefaultSchema

import callctl
from callctl.http.auth import Holder, Scope
from callctl.http.errors import CODES, Problem
from callctl.http.routes import Route, json_response

_REF = "#/components/schemas/{name}"
_PATH_PARAMETER = re.compile(r"{(\w+)}")


def routes(served: Sequence[Route]) -> tuple[Route, ...]:
    """The document of `served` and of itself, and the page."""

    async def as_json(_request: web.Request, _holder: Holder) -> web.Response:
        return json_response(written)

    async def as_page(_request: web.Request, _holder: Holder) -> web.Response:
        return web.Response(text=shown, content_type="text/html")

    own = (
        Route("GET", "/openapi.json", as_json, Scope.READ, "this document", answer="application/json"),
        Route("GET", "/docs", as_page, Scope.READ, "this document, to be read", answer="text/html"),
    )
    written = document((*served, *own))
    shown = page(written)
    return own


def document(served: Sequence[Route]) -> dict[str, Any]:
    """OpenAPI 3.1 of these routes."""
    schemas = _schemas(served)
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "callctl", "version": callctl.__version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    parameters += [
        {
            "name": query.name,
            "in": "query",
            "required": query.required,
            "description": query.about,
            "schema": {"type": "string"},
        }
        for query in route.query
    ]
    codes = sorted({*route.codes, *route.answered, *route.implied})
    told = {code: route.answer if code in route.answered else Problem for code in codes}
    operation: dict[str, Any] = {
        "summary": route.about,
        "parameters": parameters,
        "responses": {"200": {"description": "as asked", **_content(route.answer)}}
        | {str(code): {"description": CODES[code], **_content(kind)} for code, kind in told.items()},
    }
    if route.scope is not None:
        operation["description"] = f"Scope: {route.scope.value}." + (
            " Provider's tokens only." if route.provider else ""
        )
        operation["security"] = [{"token": []}]
    if route.body is not None:
        operation["requestBody"] = {"required": True, **_content(route.body)}
    return operation


def _content(kind: Any) -> dict[str, Any]:
    if isinstance(kind, UnionType):
        either = [_reference(one) for one in get_args(kind)]
        return {"content": {"application/json": {"schema": {"oneOf": either}}}}
    if isinstance(kind, str):
        return {"content": {kind: {"schema": {"type": "string"}}}}
    return {"content": {"application/json": {"schema": _reference(kind)}}}


def _reference(kind: Any) -> dict[str, Any]:
    return {"$ref": _REF.format(name=kind.__name__)}


class _OnTheWire(GenerateJsonSchema):
    """Defaults as a body states them: "normal" and "0.0000", not the flag and the integer that they are inside."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        written, inner = super().default_schema(schema), cast("Any", schema["schema"])
        while "serialization" not in inner and inner["type"].startswith("function"):  # a bound that wraps the type
            inner = inner["schema"]
        serialization = inner.get("serialization", {})
        if "default" in written and serialization.get("type") == "function-plain":
            written["default"] = serialization["function"](schema["default"])
        return written


def _schemas(served: Sequence[Route]) -> dict[str, Any]:
    named = [kind for route in served for kind in (route.body, route.answer)]
    kinds = {one for kind in named for one in (get_args(kind) or (kind,)) if isinstance(one, type)}
    models = sorted((kind for kind in kinds if issubclass(kind, BaseModel)), key=lambda kind: kind.__name__)
    structs = sorted((kind for kind in kinds - set(models)), key=lambda kind: kind.__name__)
    _, components = msgspec.json.schema_components([*structs, Problem], ref_template=_REF)
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        by_alias=True,
        ref_template=_REF.replace("name", "model"),
        schema_generator=_OnTheWire,
    )
    return {**components, **definitions.get("$defs", {})}


def page(written: dict[str, Any]) -> str:
    """The document for people: every path, what it takes, what it answers."""
    parts = [f"<h1>callctl {html.escape(written['info']['version'])}</h1>"]
    for path, methods in written["paths"].items():
        for method, operation in methods.items():
            parts.append(_section(path, method, operation))
    parts.append("<h2>Schemas</h2>")
    for name, schema in sorted(written["components"]["schemas"].items()):
        pretty = msgspec.json.format(msgspec.json.encode(schema)).decode()
        parts.append(f'<h3 id="{html.escape(name)}">{html.escape(name)}</h3><pre>{html.escape(pretty)}</pre>')
    return _PAGE.format(body="\n".join(parts))


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    lines = [operation["summary"], operation.get("description", "No token needed.")]
    lines += [f"{p['name']}: {p['description']}" for p in operation["parameters"] if p["in"] == "query"]
    body = operation.get("requestBody")
    if body is not None:
        lines.append("Body: " + _linked(body["content"]))
    lines += [
        f"{code}: {answer['description']} {_linked(answer.get('content', {}))}"
        for code, answer in operation["responses"].items()
    ]
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><ul>{items}</ul>"


def _linked(content: dict[str, Any]) -> str:
    if not content:
        return ""
    ((kind, media),) = content.items()
    schema = media["schema"]
    names = [one["$ref"].rpartition("/")[2] for one in schema.get("oneOf", [schema]) if "$ref" in one]
    return " or ".join(f'<a href="#{name}">{name}</a>' for name in names) or kind


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>callctl API</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
pre {{ background: #f4f4f4; padding: 1rem; overflow-x: auto; }}
h2 {{ border-top: 1px solid #ddd; padding-top: 1rem; }}
</style></head><body>
{body}
</body></html>
"""
