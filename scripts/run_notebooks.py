"""Execute the notebooks in place, each in an empty folder, and leave nothing of this machine in them.

    python scripts/run_notebooks.py                          all of notebooks/
    python scripts/run_notebooks.py notebooks/few-shot-clip.ipynb

What a cell says on stderr is dropped (progress, warnings about the machine), as are times and versions; an error in a cell, and a path of
this machine in an output, leave the notebook as it was.
"""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from inarch import files
from inarch.errors import ConfigError

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
SECONDS = 300  # for one cell
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def executed(path: Path, folder: Path) -> NotebookNode:
    """The notebook with fresh outputs; its cells run in ``folder``, on one thread and without a network."""
    notebook = nbformat.read(path, as_version=4)
    for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "IPYTHONDIR": str(folder / ".ipython")}.items():
        os.environ[name] = value
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    scrub(notebook)
    refuse_traces(notebook, path.name, (str(folder), str(Path.home()), str(NOTEBOOKS.parent)))
    return notebook


def scrub(notebook: NotebookNode) -> None:
    """Take out what differs from one execution to the next, and what was said on stderr."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.pop("execution_count", None)
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count


def refuse_traces(notebook: NotebookNode, name: str, places: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` where an output names a folder or the user of this machine."""
    for number, cell in enumerate(notebook.cells):
        said = nbformat.v4.writes(nbformat.v4.new_notebook(cells=[cell])) if cell.cell_type == "code" else ""
        for trace in (*places, f"/{getpass.getuser()}/"):
            if len(trace) > 1 and trace in said:
                raise ConfigError(f"{name}: the output of cell {number} says {trace}; print what a reader elsewhere can use")


def main(paths: list[str]) -> None:
    for path in [Path(path) for path in paths] or sorted(NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            text = nbformat.writes(executed(path, Path(folder).resolve()))
        files.write(path, (text + "\n").encode())
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
