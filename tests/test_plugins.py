"""Methods of other packages: by entry point, by ``package.module:Class``, judged by the laws, and refused where they are none."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from nursery import Nursery

import inarch
from inarch.adapter import Adapter, Built, Method
from inarch.cli import main
from inarch.errors import ConfigError, Mismatch
from inarch.methods import METHODS, configured, method_named, name_of
from inarch.methods.registry import SETTINGS, known
from inarch.testing import STOCKS, LawBroken, check_method

PLUGIN = ROOT / "examples" / "plugin"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example package on the path with the record that pip would leave beside it."""
    record = tmp_path / "inarch_shift-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: inarch-shift\nVersion: 0.1.0\n")
    (record / "entry_points.txt").write_text("[inarch.methods]\nshift = inarch_shift:Shift\nbroken = inarch_shift:Nothing\n")
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "inarch_shift", raising=False)
    yield record
    sys.modules.pop("inarch_shift", None)


def test_the_example_is_small():
    assert len((PLUGIN / "inarch_shift.py").read_text().splitlines()) <= 45


def test_a_declared_method_is_known_by_its_name(installed, capsys):
    kind = method_named("shift")
    assert kind.__name__ == "Shift" and name_of(kind) == "shift" and "shift" in known()
    assert main(["count", "shift", "mini-vit", "--set", "scale=2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["config"]["scale"] == 2 and said["adapter"] == inarch.count(graft_mini(kind())).adapter


def graft_mini(method: Method) -> torch.nn.Module:
    from inarch import backbones

    return inarch.graft(backbones.load("mini-vit", device="meta", pretrained=False).model, method)


def test_the_laws_judge_it(installed):
    found = check_method(method_named("shift"), stocks=STOCKS[:1], scale=0.5)
    assert found == {"ViT": "passed and folds"}


def test_a_typed_address_is_imported_and_a_file_s_is_not(installed, capsys):
    address = "inarch_shift:Shift"
    with pytest.raises(ConfigError, match="what a file names is not imported: pass --method inarch_shift:Shift"):
        configured(address, {})
    assert "inarch_shift" not in sys.modules
    assert main(["count", address, "mini-vit", "--json"]) == 0 and "inarch_shift" in sys.modules
    assert json.loads(capsys.readouterr().out)["method"] == address
    assert type(configured(address, {})) is method_named("shift")
    with pytest.raises(ConfigError, match="has no 'Shfit'; did you mean 'Shift'"):
        configured("inarch_shift:Shfit", {})


@pytest.mark.parametrize(("address", "reason"), [
    ("no_such_package:Shift", "importing no_such_package failed"), ("json:JSONDecoder", "derived from inarch.adapter.Method"),
    ("inarch.adapter:Method", "derived from inarch.adapter.Method that defines"), ("broken", "loading inarch_shift:Nothing failed"),
    ("shfit", "no method 'shfit'; did you mean 'shift'")])
def test_what_is_no_method_is_refused(installed, capsys, address, reason):
    assert main(["count", address, "mini-vit"]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.long
def test_a_run_with_it_can_be_evaluated_where_it_is_installed(installed, tmp_path_factory, capsys):
    nursery, out = Nursery(tmp_path_factory.mktemp("nursery")), tmp_path_factory.mktemp("run") / "shift"
    command = ["train", "digits", "--backbone", str(nursery.vit), "--epochs", "1", "--limit", "64", "--no-report", "--out", str(out)]
    assert main([*command, "--method", "inarch_shift:Shift", "--set", "scale=2"]) == 0
    assert main(["evaluate", str(out)]) == 0
    card = json.loads((out / "adapter" / "adapter.json").read_text())
    assert card["method"] == "shift" and card["config"]["scale"] == 2
    (installed / "entry_points.txt").write_text("")
    sys.modules.pop("inarch_shift")
    capsys.readouterr()
    assert main(["evaluate", str(out)]) == 2 and "inarch_shift" in capsys.readouterr().err


def test_a_file_of_a_method_that_is_not_here_is_refused_by_name(installed, tmp_path):
    import copy

    from families import pristine

    model = inarch.graft(copy.deepcopy(pristine("hf-vit")), method_named("shift")())
    inarch.save(model, tmp_path / "a")
    (installed / "entry_points.txt").write_text("")
    with pytest.raises(Mismatch, match="no method 'shift'"):
        inarch.load(copy.deepcopy(pristine("hf-vit")), tmp_path / "a")


def test_names_of_the_literature_are_settings():
    assert set(SETTINGS).isdisjoint(METHODS) and {setting.method for setting in SETTINGS.values()} <= {*METHODS, "peft:lora"}
    assert configured("Pfeiffer", {"rank": 8}) == inarch.Bottleneck(rank=8, spans=("mlp",), activation="relu")
    assert configured("houlsby", {}).rank == 64 and configured("fact-tk", {}).form == "tk"
    assert name_of(type(configured("vpt-shallow", {}))) == "vpt"
    dora = configured("dora", {"r": 4})
    assert name_of(type(dora)) == "peft:lora" and dora.fields()["use_dora"] and dora.fields()["r"] == 4


@dataclass(frozen=True)
class Wrong(Method):
    """A method that breaks one law by choice."""

    law: str = field(default="none")

    def wanted(self):
        return ("attn",) if self.law != "place" else ("nowhere",)

    @property
    def identity_at_start(self):
        return self.law != "identity"

    def build(self, stacks):
        return Built({stack.name: Off(self.law, stack) for stack in stacks})


class Off(Adapter):
    def __init__(self, law, stack):
        super().__init__()
        self.law, self.bias = law, torch.nn.Parameter(torch.zeros(stack.depth, stack.width_in))
        if law == "idle":
            self.idle = torch.nn.Parameter(torch.zeros(stack.depth, 1))

    def before(self, x, i, given):
        return x + (self.bias[i].detach() if self.law == "gradient" else self.bias[i])

    def affine(self, i, given):
        from inarch.adapter import Pre

        zero = self.bias.new_zeros(self.bias.shape[1], 1)
        return Pre(zero, zero.mT, self.bias[i] * (2 if self.law == "merge" else 1))


@pytest.mark.parametrize(("law", "said"), [
    ("identity", "law 'identity'"), ("gradient", "got no gradient|does not require grad"), ("idle", "idle trains and got no gradient"),
    ("merge", "merged outputs differ from the graft's"), ("place", "on none of the stocks")])
def test_a_method_that_breaks_a_law_is_told_which(law, said):
    with pytest.raises(LawBroken, match=said):
        check_method(Wrong, stocks=STOCKS[:1], law=law)


@pytest.mark.long
def test_our_own_methods_pass_as_anybody_s():
    found = check_method(inarch.LoRA, rank=2)
    assert set(found.values()) == {"passed and folds"} and set(found) == {"ViT", "Swin", "CLIP"}
    assert check_method(inarch.VPT, length=2)["Swin"].startswith("refused: transformers Swin has no span 'stream'")


@pytest.mark.long
def test_the_example_installs(tmp_path):
    """As a user installs it, into a folder of its own."""
    copy = tmp_path / "plugin"
    copy.mkdir()
    for file in PLUGIN.glob("*.*"):
        (copy / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    subprocess.run([*command, str(tmp_path / "site"), str(copy)], check=True, capture_output=True)
    code = "from inarch.methods import method_named; from inarch.testing import check_method; print(check_method(method_named('shift')))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path,
                         env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "HF_HUB_OFFLINE": "1"})
    assert "'ViT': 'passed and folds'" in ran.stdout
