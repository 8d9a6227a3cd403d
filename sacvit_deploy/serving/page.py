"""The page that describes the server's paths, made from its OpenAPI description; it loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>sacvit serve</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em}
code,pre{background:#f2f2f2;padding:.1em .3em}pre{padding:.7em;overflow:auto}td{padding-right:1.5em;vertical-align:top}
h2{margin:1.5em 0 .2em;font-size:1.1em}</style>
<h1>sacvit serve</h1>
<p>One image, or several:</p>
<pre>curl --data-binary @image.jpg 'http://HOST:PORT/predict?eta=0.6&amp;topk=3'
curl -F file=@a.jpg -F file=@b.jpg http://HOST:PORT/predict</pre>
<p>Machines read <a href="openapi.json">openapi.json</a>.</p>
"""


def openapi_page(described: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI description."""
    parts = [HEAD]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description', ''))}</p>")
            bodies = operation.get("requestBody", {}).get("content", {})
            if bodies:
                parts.append(f"<p>Body: {', '.join(f'<code>{escape(kind)}</code>' for kind in bodies)}</p>")
            rows = [
                f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(one.get('description', ''))}</td></tr>"
                for one in operation.get("parameters", [])
            ]
            if rows:
                parts.append(f"<table>{''.join(rows)}</table>")
    return "\n".join(parts) + "\n</html>\n"
