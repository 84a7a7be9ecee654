"""The notebooks: committed as they were executed, nothing of a machine in them, and what they claim holds when they run again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def said(notebook: Any) -> str:
    """All that its cells printed."""
    return "".join("".join(output["text"]) for cell in code(notebook) for output in cell["outputs"] if output["output_type"] == "stream")


def claims(name: str, text: str) -> None:
    """What the text of a notebook says about its numbers, with chance where it can be said."""
    if name == "classify-a-folder":
        probe, arc = (float(value) for value in re.findall(r"test accuracy (0\.\d+)", text))
        assert arc > 0.85 and 0.5 < probe < arc - 0.03  # chance: 0.1
        assert "997 of 997" in text and "equal bit for bit: True" in text
    elif name == "few-shot-clip":
        frozen, ours = ([float(value) for value in row] for row in re.findall(r"base (0\.\d+)   novel (0\.\d+)", text))
        assert ours[0] > frozen[0] + 0.05 and ours[1] > frozen[1] > 1 / 18
    else:
        guess, accuracy = float(re.search(r"question: (0\.\d+)", text)[1]), float(re.search(r"test accuracy (0\.\d+)", text)[1])
        assert accuracy > guess + 0.15


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["classify-a-folder", "few-shot-clip", "questions-about-pictures"]


@named
def test_committed_as_executed(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert [cell["execution_count"] for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    outputs = [output for cell in code(notebook) for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)
    assert all(cell["metadata"] == {} for cell in notebook["cells"]) and set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert not re.search(r"/(home|root|Users|tmp|work|var)/", said(notebook)) and len(text) < 300_000
    claims(path.stem, said(notebook))


@named
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    links = [link for cell in cells if cell["cell_type"] == "markdown" for link in re.findall(r"\]\(([^)#\s]+)", "".join(cell["source"]))]
    assert links and [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of jupyter's own
@named
def test_a_notebook_runs_and_keeps_its_word(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="pip install -e '.[docs]', which make docs and make test-slow do")
    from scripts.run_notebooks import executed

    claims(path.stem, said(executed(path, tmp_path)))


@pytest.mark.long
def test_what_is_of_this_machine_is_taken_out_or_refused(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    from inarch.errors import ConfigError
    from scripts.run_notebooks import refuse_traces, scrub

    streams = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in (("stderr", "slow"), ("stdout", f"at {tmp_path}"))]
    cell = nbformat.v4.new_code_cell("1", execution_count=1, metadata={"execution": {"shell.execute_reply": "12:00"}}, outputs=streams)
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11.7"}})
    scrub(notebook)
    assert [output.name for output in cell.outputs] == ["stdout"]
    assert cell.metadata == {} and notebook.metadata.language_info == {"name": "python"}
    with pytest.raises(ConfigError, match="cell 0 says"):
        refuse_traces(notebook, "x.ipynb", (str(tmp_path),))
    refuse_traces(notebook, "x.ipynb", ("/elsewhere",))
