"""The shape of the project: what may import what, what may never be called, how long a file may be, what start-up costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from foreign_code import dangers
from planted_faults import faults

import inarch

PACKAGE = ROOT / "inarch"
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = """errors preprocess ports rows anatomy adapter joint container wiring switching grafting merging counting checkpoint files
card fit folders places source strict_json structure fingerprint roles probe packed fold_plan rebuild narrow""".split()
METHODS = sorted((PACKAGE / "methods").glob("*.py"))
MAY_IMPORT = {"torch", "safetensors", "inarch", *sys.stdlib_module_names}
LAZY = set("""timm transformers open_clip peft datasets h5py pycocoevalcap accelerate matplotlib sklearn pydantic PIL numpy rich typer
torchvision huggingface_hub tensorboard pandas onnx onnxscript onnxruntime""".split())


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(node: ast.AST) -> set[str]:
    """Modules imported anywhere below ``node``, whole dotted names, those under TYPE_CHECKING left out."""
    if type_checking(node):
        return set()
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return set().union(*map(imported, ast.iter_child_nodes(node)))


SEEN = """
import pickle | from joblib import load | import marshal as m | from pickle import loads as read | importlib.import_module("dill")
eval("1") | exec(text) | compile(text, "f", "exec") | builtins.eval("1") | __import__(name)
torch.load(f) | import torch as t; t.load(f) | from torch import load; load(f) | from torch import load as read; read(f)
torch.load(f, weights_only=True) | torch.save(x, f) | torch.jit.load(f) | torch.hub.load("a", "b")
from torch import hub; hub.load("a", "b")
yaml.load(f) | yaml.full_load(f) | from yaml import load; load(f) | import yaml as y; y.unsafe_load(f) | pandas.read_pickle(f)
import pandas as pd; pd.read_pickle(f) | np.load(f) | numpy.load(f) | from numpy import load; load(f) | np.load(f, allow_pickle=True)
np.load(f, allow_pickle=wish) | np.savez(f, allow_pickle=True) | AutoModel.from_pretrained(x, trust_remote_code=True)
AutoModel.from_pretrained(x, trust_remote_code=wish) | subprocess.run("ls", shell=True) | run(line, shell=1)
os.system(line) | os.popen(line)
import os as o; o.system(line) | from os import system; system(line) | subprocess.getoutput(line) | os.execv(path, args)
""".replace("\n", " | ").strip(" |").split(" | ")
HARMLESS = """
np.load(f, allow_pickle=False) | json.load(f) | re.compile(text) | torch.compile(model) | model.eval() | x.load(f) | load_file(f)
subprocess.run(["ls"]) | run(line, shell=False) | yaml.safe_load(f) | from inarch import load; load(model, f) | inarch.load(model, f)
""".replace("\n", " | ").strip(" |").split(" | ")
SCANNED = [*FILES, *sorted((ROOT / "scripts").rglob("*.py"))]


@pytest.mark.parametrize("code", SEEN)
def test_the_scan_sees(code: str) -> None:
    assert dangers(ast.parse(code))


@pytest.mark.parametrize("code", HARMLESS)
def test_the_scan_lets_pass(code: str) -> None:
    assert dangers(ast.parse(code)) == []


@pytest.mark.row("A15", "every source file of the package and its scripts, searched for what could run what a file says")
@pytest.mark.parametrize("path", SCANNED, ids=name)
def test_nothing_that_runs_foreign_code(path: Path) -> None:
    """There is none: no pickle or friend of it, torch.load, eval, exec, yaml.load, shell, remote code, array of objects."""
    assert dangers(tree(path)) == []


@pytest.mark.parametrize("module", CORE)
def test_core_stands_on_torch_and_safetensors(module: str) -> None:
    foreign = {m for m in imported(tree(PACKAGE / f"{module}.py")) if m.partition(".")[0] not in MAY_IMPORT}
    assert foreign == set()


@pytest.mark.parametrize("module", CORE)
def test_core_never_looks_up(module: str) -> None:
    """Arrows point one way: the core imports the core and the methods, nothing that stands on it."""
    inside = {m.split(".")[1] for m in imported(tree(PACKAGE / f"{module}.py")) if m.startswith("inarch.")}
    assert inside <= {*CORE, "methods"}


@pytest.mark.parametrize("path", METHODS, ids=name)
def test_methods_never_meet_a_backbone(path: Path) -> None:
    found = imported(tree(path))
    assert {m for m in found if m.partition(".")[0] not in MAY_IMPORT} == set()
    assert {m.split(".")[1] for m in found if m.startswith("inarch.")} <= {"adapter", "ports", "errors", "methods", "rebuild"}


def test_anatomy_never_meets_a_method() -> None:
    assert not any(m.startswith("inarch.methods") for m in imported(tree(PACKAGE / "anatomy.py")))


def test_files_are_short() -> None:
    lines = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path: found for path, found in lines.items() if found > 250} == {}
    assert {path.stem for path in FILES} & {"utils", "util", "helpers", "helper", "misc", "common"} == set()


def test_functions_are_short() -> None:
    functions = [(path, node) for path in FILES for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    long = [(name(path), f.name, f.end_lineno - f.lineno + 1) for path, f in functions if f.end_lineno - f.lineno >= 40]
    assert long == []


def test_every_module_says_its_idea() -> None:
    assert [name(path) for path in FILES if not ast.get_docstring(tree(path))] == []


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.mark.long
def test_import_brings_the_core_only() -> None:
    loaded = python("import inarch, sys; inarch.ARC, inarch.graft, inarch.save, inarch.merge; print(*sys.modules)").split()
    alone = python("import torch, safetensors.torch, sys; print(*sys.modules)").split()
    assert (set(loaded) - set(alone)) & LAZY == set()


def test_submodules_do_not_hide_the_functions_of_their_name() -> None:
    """Importing a module sets it as an attribute of its package: no module may be called like a public function."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert modules & set(inarch.__all__) == set()


def test_help_needs_no_torch() -> None:
    """Half a second is not to be had with torch, and 0.2 s are taken without it; the time itself is no test's business."""
    code = "import sys; from inarch.cli import main; main(['--help']); assert 'torch' not in sys.modules, 'torch was imported'"
    assert "check-data" in python(code)


def test_public_names_are_all_there() -> None:
    import inarch

    assert [word for word in inarch.__all__ if not hasattr(inarch, word)] == []


def test_every_extra_that_a_message_names_exists() -> None:
    from inarch.cli import EXTRAS

    calls = [node for path in FILES for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    named = [call.args[1] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "need" and len(call.args) == 2]
    words = {word.value for word in named if isinstance(word, ast.Constant)} | set(EXTRAS.values())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert len(words) > 4 and words <= extras.keys()


def test_every_planted_fault_finds_the_text_that_it_breaks() -> None:
    """An edit that takes a fault's place away says so at once, not after an hour of other tests."""
    lost = [fault.name for fault in faults([]) if (ROOT / fault.file).read_text(encoding="utf-8").count(fault.old) != 1]
    assert not lost


def test_pins_lie_in_the_tested_ranges() -> None:
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {key.lower().replace("_", "-"): value for key, value in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wishes = [*project["dependencies"], *(w for extra in project["optional-dependencies"].values() for w in extra)]
    for wish in map(Requirement, wishes):
        if wish.name != "inarch":
            assert wish.specifier.contains(pins[wish.name.lower().replace("_", "-")]), wish


def test_version_is_said_once() -> None:
    import inarch

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == inarch.__version__
