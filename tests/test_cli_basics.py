"""The command line without training: help, counts, sites, data checks, and one clear message with its exit code for bad input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from inarch.cli import bug, known, main
from inarch.cli.app import VERBS
from inarch.errors import ConfigError, StorageError

NEAREST = [
    (["cuont"], 2, "'count'"),
    (["count", "acr", "mini-vit"], 2, "'arc'"),
    (["count", "arc", "mini-vti"], 2, "mini-vit"),
    (["count", "arc", "config:vit-b61"], 2, "'vit-b16'"),
    (["count", "arc", "mini-vit", "--set", "rnak=8"], 2, "'rank'"),
    (["count", "arc", "mini-vit", "--jsno"], 2, "--json"),
    (["train", "digits", "--bacbone", "mini-vit"], 2, "--backbone"),
    (["train", "digits", "--augment", "flop"], 2, "'flip'"),
    (["bench", "trian"], 2, "'train'"),
]  # fmt: skip
BAD = [
    (["count", "arc", "mini-vit", "--set", "rank=0"], 2, "rank=0"),
    (["count", "arc", "mini-vit", "--set", "rank=129"], 2, "1..128"),
    (["count", "arc", "mini-vit", "--set", "rank"], 2, "KEY=VALUE"),
    (["count", "arc", "mini-vit", "--set", "rank=8", "--set", "rank=9"], 2, "twice"),
    (["count", "arc"], 2, "backbone"),
    (["count", "arc", "hf:./no-such-folder"], 2, "no-such-folder"),
    (["sites", "nowhere"], 2, "nowhere"),
    (["check-data", "nowhere/"], 3, "nowhere"),
    (["train"], 2, "no data"),
    (["train", "no-such.toml"], 2, "no-such.toml"),
    (["train", "digits", "--backbone", "mini-vit", "--lr", "-1"], 2, "lr=-1"),
    (["train", "digits", "--backbone", "mini-vit", "--lr", "fast"], 2, "--lr"),
    (["train", "nowhere", "--backbone", "mini-vit"], 3, "nowhere"),
    (["train", "--resume", "nowhere"], 4, "recipe.toml"),
    (["train", "digits", "--resume", "nowhere"], 2, "leave out"),
    (["predict", "nowhere", "a.png"], 4, "nowhere"),
    (["evaluate", "nowhere"], 4, "nowhere"),
    (["merge", "nowhere", "out"], 4, "nowhere"),
    (["export", "nowhere", "--to", "lora"], 4, "nowhere"),
    (["export", "nowhere", "--to", "lroa"], 2, "'lora'"),
    (["export", "nowhere"], 2, "--to"),
    (["compare", "nowhere"], 3, "nowhere"),
    (["inspect", "nowhere"], 4, "nowhere"),
    (["bench", "train", "--models", "xxl"], 2, "xxl"),
    (["bench", "import", "--models", "b"], 2, "--models has no effect"),
    (["bench", "report", "--json", "x"], 2, "--json has no effect"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("line", "code", "word"), NEAREST + BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_gets_its_code_and_one_clear_message(line, code, word, capsys, elsewhere) -> None:
    assert main(line) == code
    out, err = capsys.readouterr()
    assert out == "" and word in err
    assert err.count("inarch: ") == 1 and "Traceback" not in err and "bug" not in err
    assert list(elsewhere.iterdir()) == [], "something was written"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys) -> None:
    assert main([verb, "--help"]) == 0
    assert f"inarch {verb} " in capsys.readouterr().out.replace("\n", " ")


def test_help_lists_every_verb(capsys) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in said] == []


def test_version(capsys) -> None:
    import inarch

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"inarch {inarch.__version__}\n"


@pytest.mark.parametrize(("address", "flags", "adapter"), [
    ("config:vit-b16", [], 96_432), ("config:vit-l16", [], 153_952), ("config:vit-h14", [], 213_120),
    ("config:swin-b", [], 218_464), ("config:vit-b16", ["--set", "spans=attn"], 48_216),
    ("config:vit-b16", ["--set", 'spans=["attn"]', "--set", "rank=50"], 48_216),
])  # fmt: skip
def test_the_published_counts(address, flags, adapter, capsys) -> None:
    assert main(["count", "arc", address, "--json", *flags]) == 0
    said = capsys.readouterr().out
    assert f'"adapter": {adapter},' in said and json.loads(said)["without_head"] == adapter


def test_count_shows_both_conventions(capsys) -> None:
    assert main(["count", "arc", "config:vit-b16", "--classes", "37"]) == 0
    said = capsys.readouterr().out
    assert "96,432" in said and f"{96_432 + 769 * 37:,}" in said


def test_sites_joins_layers_that_agree(capsys) -> None:
    assert main(["sites", "mini-vit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines if " attn " in line] == [["vision", "0-5", "attn", "128"]]
    assert main(["sites", "mini-vit", "--all"]) == 0
    assert sum(" attn " in line for line in capsys.readouterr().out.splitlines()) == 6


def test_sites_shows_where_a_method_would_sit_and_what_it_would_train(capsys) -> None:
    assert main(["sites", "mini-vit", "--method", "arc", "--set", "rank=8", "--set", "spans=attn", "--thaw", "head"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[2] for line in lines if line[-1:] == ["ARC"]] == ["attn"]
    assert lines[-2:] == [["tower", "adapters", "base", "frozen"], ["vision", "1,840", "258", "1,223,040"]]
    assert main(["sites", "mini-vit", "--thaw", "head"]) == 2


def test_sites_takes_the_names_that_count_takes(capsys) -> None:
    for verb in (["sites", "mini-vit", "--method", "vpt-shallow"], ["count", "vpt-shallow", "mini-vit"]):
        assert main(verb) == 0
        assert "6,400" in capsys.readouterr().out  # 50 tokens once, not at every block


def test_check_data_lists_every_problem(tmp_path: Path, capsys) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), "red" if name == "cat" else "blue").save(tmp_path / "pets" / name / "1.png")
    assert main(["check-data", "pets"]) == 0
    (tmp_path / "pets" / "dog" / "2.png").write_bytes(b"")
    (tmp_path / "pets" / "cat" / "3.png").write_bytes((tmp_path / "pets" / "cat" / "1.png").read_bytes()[:40])
    capsys.readouterr()
    assert main(["check-data", "pets"]) == 3
    out, err = capsys.readouterr()
    assert "2.png" in out and "3.png" in out and "2 problem(s)" in err


def test_set_reads_json_else_text() -> None:
    from inarch.cli.flags import settings

    pairs = ["rank=8", "spans=attn,mlp", "bias=false", "layers=-6:", "alpha=1e-2", 'targets=["q"]', "towers=null"]
    assert settings(pairs) == {"rank": 8, "spans": "attn,mlp", "bias": False, "layers": "-6:", "alpha": 0.01, "targets": ["q"],
                               "towers": None}


def test_every_recipe_field_is_a_flag() -> None:
    from inarch.cli.flags import recipe_flags
    from inarch.recipe import Recipe

    flags = {p.name: p.annotation.__metadata__[0].help for p in recipe_flags()}
    assert flags.keys() == Recipe.model_fields.keys() - {"set"}
    assert flags["epochs"] == "(default: 100)" and flags["keep"].startswith("checkpoints kept")


def test_a_bug_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken(args):
        raise KeyError("boom")

    monkeypatch.setattr("inarch.cli.app.command", broken)
    assert main(["sites", "mini-vit"]) == 1
    said = capsys.readouterr().err
    assert "bug" in said and "KeyError" in said and "--debug" in said and "Traceback" not in said
    assert main(["sites", "mini-vit", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_missing_package_names_its_extra_and_a_full_disk_says_so() -> None:
    missing = known(ModuleNotFoundError("No module named 'timm.models'", name="timm.models"))
    assert isinstance(missing, ConfigError) and "inarch[timm]" in str(missing)
    full = known(OSError(28, "No space left on device", "runs/a"))
    assert isinstance(full, StorageError) and full.exit_code == 6 and "runs/a" in str(full)
    assert known(ModuleNotFoundError("No module named 'inarch.nothing'", name="inarch.nothing")) is None
    assert "ValueError" in bug(ValueError("x\ny")) and "\n" not in bug(ValueError("x\ny"))


def test_ctrl_c_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def pressed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("inarch.backbones.load", pressed)
    assert main(["count", "arc", "mini-vit"]) == 130


@pytest.mark.row("I4", "a pipe that nobody reads, with much to say and with little; stdout closed")
@pytest.mark.parametrize(("verb", "end", "code"), [
    pytest.param("train --help", "| true", 1, marks=pytest.mark.faults), ("--version", "| true", 1), ("--version", ">&-", 0)])
def test_a_closed_pipe_is_no_error(verb: str, end: str, code: int) -> None:
    """It ends quietly, with not a word on stderr."""
    line = f"{sys.executable} -m inarch {verb} {end}; exit ${{PIPESTATUS[0]}}"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}  # as at a user's: written at the end
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, env=buffered)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", code)


@pytest.mark.row("I4", "a name that the encoding of the terminal has no code for")
@pytest.mark.parametrize(("encoding", "errors"), [("ascii", "strict"), ("ascii", "surrogateescape"), ("latin-1", "strict"),
                                                  ("utf-8", "strict")])
def test_a_name_without_a_code_is_shown_by_its_number(encoding: str, errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown as its number, exit 0: never an error after the work is done."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr("inarch.cli.run", lambda args: print("größe 猫 \udcff") or 0)
    assert main(["predict"]) == 0
    assert shown.buffer.getvalue().decode(encoding).endswith(" \\udcff\n")
