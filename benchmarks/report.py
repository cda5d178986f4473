"""Pages of what was measured, from documents (result.Result.document) alone: Markdown of one, HTML of all."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt

from benchmarks.machine import line

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { border: 1px solid #ccc; padding: .2rem .6rem; text-align: left }
img { max-width: 100% } .machine { color: #666; font-size: .85em } .missed { color: #a00; font-weight: bold } .held { color: #070 }
"""


def markdown(document: Mapping[str, Any]) -> str:
    missed = [f"**Missed: {miss}.**" for miss in document["missed"]]
    head = [f"# {document['name']}", f"{line(document['machine'])}; measured for {document['seconds']:g} s"]
    return "\n\n".join([*head, document["table"], *missed]) + "\n"


def page(documents: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> str:
    """One file that needs no other. pictures: PNG by the name of the document."""
    parts = [_section(document, pictures.get(document["name"])) for document in documents]
    links = " · ".join(f'<a href="#{document["name"]}">{document["name"]}</a>' for document in documents)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>faceswap-serve, measured</title><style>{STYLE}</style></head>'
        f"<body><h1>faceswap-serve, measured</h1><p>{links}</p>{''.join(parts)}</body></html>\n"
    )


def _section(document: Mapping[str, Any], picture: bytes | None) -> str:
    name = html.escape(document["name"])
    missed = "".join(f"<li>{html.escape(miss)}</li>" for miss in document["missed"])
    verdict = f'<p class="missed">Missed:</p><ul class="missed">{missed}</ul>' if missed else '<p class="held">Nothing missed.</p>'
    shown = f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">' if picture else ""
    table = MarkdownIt("commonmark", {"html": False}).enable("table").render(document["table"])
    machine = html.escape(f"{line(document['machine'])}; measured for {document['seconds']:g} s")
    return f'<h2 id="{name}">{name}</h2><p class="machine">{machine}</p>{verdict}{table}{shown}'
