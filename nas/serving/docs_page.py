"""The page at /docs: the OpenAPI description as plain HTML, which needs no other host."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid #ccc; padding-top: 1rem } code, pre { background: #f4f4f4 }
pre { padding: .5rem; overflow: auto } td, th { text-align: left; padding-right: 1rem;
vertical-align: top }
"""


def docs_page(openapi: Mapping[str, Any]) -> str:
    """Returns an HTML page that lists every path with what it takes and gives."""
    info = openapi["info"]
    parts = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        '<p>As data: <a href="openapi.json">openapi.json</a></p>',
    ]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parts.append(operation_html(f"{method.upper()} {path}", operation, openapi))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )


def operation_html(name: str, operation: Mapping[str, Any], openapi: Mapping[str, Any]) -> str:
    text = [f"<h2><code>{escape(name)}</code></h2>"]
    text.append(f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>")
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        text.append("<h3>Body</h3>" + schema_html(content["schema"], openapi))
        if "example" in content:
            text.append(f"<pre>{escape(json.dumps(content['example'], indent=1))}</pre>")
    for status, response in operation["responses"].items():
        text.append(f"<h3>{escape(status)} {escape(response['description'])}</h3>")
        for content in response.get("content", {}).values():
            text.append(schema_html(content.get("schema", {}), openapi))
    return "".join(text)


def schema_html(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> str:
    """Returns a table of a schema's fields."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        schema = openapi["components"]["schemas"][name]
    required = set(schema.get("required", ()))
    rows = [
        f"<tr><td><code>{escape(key)}</code></td>"
        f"<td>{escape(kind(field))}{'' if key in required else ', may be left out'}</td>"
        f"<td>{escape(field.get('description', ''))}</td></tr>"
        for key, field in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def kind(field: Mapping[str, Any]) -> str:
    """
    >>> kind({"anyOf": [{"type": "number"}, {"type": "null"}]})
    'number or null'
    """
    if options := field.get("anyOf"):
        return " or ".join(kind(option) for option in options)
    return str(field.get("type", "any"))
