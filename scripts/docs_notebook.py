"""An executed notebook as a Markdown page with its pictures: what it says, what it runs, what came out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PICTURES = {"image/png": "png", "image/svg+xml": "svg"}


def page(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a notebook, and the pictures that it shows, by the names under which the page links to them."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    pictures: dict[str, bytes] = {}
    parts: list[str] = []
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        for text, data in shown(cell.get("outputs", []), f"{notebook.stem}-{number}"):
            parts.append(text)
            pictures |= data
    about = f"*`notebooks/{notebook.name}` of the repository, as `scripts/run_notebooks.py` executed it.*"
    return "\n\n".join([*parts, about]) + "\n", pictures


def shown(outputs: list[dict[str, Any]], name: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each output as Markdown with the pictures that it needs."""
    for k, output in enumerate(outputs):
        if output["output_type"] == "stream":
            yield fenced("".join(output["text"])), {}
            continue
        data = output["data"]
        kind = next((kind for kind in PICTURES if kind in data), None)
        if kind is None:
            yield fenced("".join(data["text/plain"])), {}
        else:
            file = f"{name}-{k}.{PICTURES[kind]}"
            content = "".join(data[kind])
            yield f"![output]({file})", {file: base64.b64decode(content) if kind == "image/png" else content.encode()}


def fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
