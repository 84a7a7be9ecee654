"""timm's own model tests, run on models with adapters: results/timm-matrix.json and docs/timm-matrix.md.

    python scripts/timm_matrix.py

The tests come with timm's source distribution, which pip fetches into a folder that git ignores; nothing of it is kept here.
``tests/timm_cases.py`` puts the adapters on. A failure without a reason in ``REASONS`` makes this exit with 1.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

if __name__ == "__main__":  # a script finds its neighbours, as a test finds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scripts import foreign_tests
from scripts.foreign_tests import ROOT

RESULT, PAGE = ROOT / "results" / "timm-matrix.json", ROOT / "docs" / "timm-matrix.md"
METHODS = ("ARC", "AdaRing", "VLPET")
MODELS = ("test_vit", "test_vit2", "beit_base_patch16_224", "eva02_tiny_patch14_224", "swin_tiny_patch4_window7_224")
_SCRIPT = "TorchScript compiles source text and no hook objects: merge first, or export with `--to torch`"
_PRUNED = "timm drops blocks from under the graft; what adapted them stays in the container until it is taken off"
_SYMBOLIC = ("AdaRing reads a norm's output and chooses how to contract its rings by their sizes; torch.fx runs no hooks of norms and "
             "knows no sizes (`torch.compile` and `torch.export` do)")
REASONS = (  # test, what its message holds, why it cannot pass
    *((test, "torch/jit", _SCRIPT) for test in (
        "test_model_forward_torchscript", "test_model_forward_fx_torchscript", "test_swin_family_script_after_resize")),
    ("test_prune_intermediate_layers_params_used", "inarch.default", _PRUNED),
    ("test_prune_intermediate_layers_contract", "inarch.default", _PRUNED),
    ("", "symbolically traced variables", _SYMBOLIC), ("", "torch.fx traces no hooks of its leaf modules", _SYMBOLIC),
    ("test_swin_family_compile_resize_guards", "assert 2 == 1", "torch.compile makes a graph of its own of a root module's hooks, where "
     "AdaRing contracts its rings; timm expects one graph in all"),
)


def main() -> int:
    lines = [line for method in METHODS for line in run(method)]
    found = {"timm": importlib.metadata.version("timm"), "cases": lines}
    RESULT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
    print(page(found), *(f"{line['test']} {line['case']}: {line['message']}" for line in foreign_tests.unexplained(lines)), sep="\n")
    return 1 if foreign_tests.unexplained(lines) else 0


def run(method: str, *words: str) -> list[dict[str, str]]:
    """Every case of one method: test, model, outcome, and the reason of a failure ("" where none is known); ``words``: for pytest."""
    version = importlib.metadata.version("timm")
    folder = foreign_tests.unpacked("timm", version, ROOT / "runs" / "timm-matrix" / version)
    found = []
    for case in foreign_tests.cases(folder, "timm_cases", "tests/test_models.py", *words, INARCH_CASES=method):
        name, _, setting = case.attrib["name"].partition("[")
        found.append({"method": method, "test": name, "case": setting.rstrip("]"), **foreign_tests.outcome(case, name, REASONS)})
    return found


def page(found: dict) -> str:
    models = sorted({model for model in MODELS for line in found["cases"] if model in line["case"]})
    head = (f"# timm's own tests on models with adapters\n\nMade by `python scripts/timm_matrix.py`: the model tests of timm "
            f"{found['timm']}, every model with adapters\nthat have left their start ([tests/timm_cases.py](../tests/timm_cases.py)). "
            f"Cases of: {', '.join(f'`{model}`' for model in models)}.\nSkipped: by timm's own conditions, or because `graft` refuses the "
            "method there (VL-PET's gates on Swin's windows).\n")
    return "\n".join([head, *foreign_tests.table(found["cases"], METHODS)])


if __name__ == "__main__":
    sys.exit(main())
