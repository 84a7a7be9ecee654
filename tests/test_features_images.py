"""Which images an address stands for, and the command line from there to a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from features_toys import vit
from pictures import pixels, png_bytes

from inarch.cli import features as verb
from inarch.cli import main
from inarch.errors import ConfigError, DataError
from inarch.features import images_at, open_store


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names: str) -> None:
    for seed, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(png_bytes(seed))


def lines(file: str, *rows: dict[str, Any]) -> str:
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_folder_is_read_to_its_depth() -> None:
    put("pets/a.png", "pets/cats/1.jpg", "pets/cats/old/1.PNG", "pets/.hidden/2.png", "pets/.x.png", "pets/__MACOSX/3.png")
    Path("pets/cats/notes.txt").write_text("x")
    Path("pets/cats/circle").symlink_to(Path("..").absolute() / "pets", target_is_directory=True)
    Path("pets/cats/loop").symlink_to("../../pets", target_is_directory=True)
    assert images_at("pets") == {"a": Path("pets/a.png"), "cats/1": Path("pets/cats/1.jpg"), "cats/old/1": Path("pets/cats/old/1.PNG")}


def test_ids_that_meet_are_refused_together() -> None:
    put("pets/a.png", "pets/a.jpg", "pets/b/1.png", "pets/b/1.webp", "pets/c.png")
    with pytest.raises(DataError) as refused:
        images_at("pets")
    said = str(refused.value)
    assert "2 ids are not unique" in said and "pets/a.jpg and pets/a.png would both be 'a'" in said and "'b/1'" in said
    put("names/\u00e9.png", "names/e\u0301.png")
    with pytest.raises(DataError, match="differ only in Unicode form"):
        images_at("names")


@pytest.mark.parametrize(("file", "text"), [
    ("t.csv", "path,label\npets/1.png,x\n./pets/2.png,y\npets/1.png,z\n"),
    ("t.jsonl", '{"image": "pets/1.png", "n": 1}\n\n{"image": "pets//2.png"}\n'),
])  # fmt: skip
def test_a_table_names_its_images_as_written(file: str, text: str) -> None:
    put("pets/1.png", "pets/2.png")
    Path(file).write_text(text)
    assert images_at(file) == {"pets/1.png": Path("pets/1.png"), "pets/2.png": Path("pets/2.png")}


def test_a_column_may_be_named() -> None:
    put("1.png")
    Path("t.csv").write_text("picture,path\n1.png,none\n")
    assert images_at("t.csv", image_column="picture") == {"1.png": Path("1.png")}
    with pytest.raises(DataError, match="no column 'pictures'; did you mean 'picture'"):
        images_at("t.csv", image_column="pictures")
    with pytest.raises(ConfigError, match="image_column means nothing for"):
        images_at(".", image_column="picture")


def test_every_problem_of_a_table_is_listed() -> None:
    put("1.png")
    lines("t.jsonl", {"image": "1.png"}, {"image": 3}, {"image": "gone.png"}, {"other": 1})
    with pytest.raises(DataError) as refused:
        images_at("t.jsonl")
    said = str(refused.value)
    assert "3 problem(s)" in said and "t.jsonl:2: image is 3" in said and "no such image: gone.png" in said and "t.jsonl:4" in said


def test_questions_and_captions_bring_their_own_ids() -> None:
    put("a.png", "b.png", "c.png")
    rows = ({"image": image, "question": "What?", "answer": "x"} for image in ("a.png", "./b.png"))
    asked = lines("q.jsonl", *rows)
    assert images_at(asked) == {"a.png": Path("a.png"), "b.png": Path("b.png")}
    pairs = lines("two.jsonl", {"images": ["a.png", "c.png"], "question": "Same?", "answer": "no"})
    assert sorted(images_at(pairs)) == ["a.png", "c.png"]
    assert sorted(images_at(lines("c.jsonl", {"image": "c.png", "captions": ["a thing"]}))) == ["c.png"]
    with pytest.raises(DataError, match="problem"):
        images_at(lines("q2.jsonl", {"image": "a.png", "question": "", "answer": "x"}))


def test_arrays_of_an_npz_are_images() -> None:
    images = np.stack([pixels(0), pixels(1)])
    np.savez("v.npz", images=images, question=np.array(["a?", "b?"]), answer=np.array(["x", "y"]), split=np.array([0, 1]))
    found = images_at("v.npz")
    assert sorted(found) == ["0", "1"] and np.array_equal(found["1"], images[1])


def nlvr(root: str, *images: str) -> None:
    """NLVR2 in its published layout, of one training sentence."""
    row = {"uid": "u", "identifier": "i", "img0": "train-1-img0", "img1": "train-1-img1", "sent": "Both are red.", "label": 1}
    Path(root, "nlvr").mkdir(parents=True)
    Path(root, "nlvr/train.json").write_text(json.dumps([row]))
    put(*(f"{root}/nlvr/images/{image}.png" for image in images))


def test_published_tasks_bring_the_published_ids() -> None:
    nlvr("datasets", "train-1-img0", "train-1-img1", "unused")
    assert images_at("datasets", tasks=("nlvr",)) == {
        f"train-1-img{k}": Path(f"datasets/nlvr/images/train-1-img{k}.png") for k in (0, 1)}
    nlvr("half", "train-1-img0")
    with pytest.raises(DataError, match=r"1 images are not there:\n  train-1-img1\nfetch them"):
        images_at("half", tasks=("nlvr",))
    with pytest.raises(ConfigError, match="nlvr"):
        images_at("datasets", tasks=("nvlr",))


def test_what_is_no_source_of_images_is_refused() -> None:
    Path("x.txt").write_text("x")
    Path("empty").mkdir()
    for address, words in (("x.txt", "a file of unknown kind"), ("gone", "there is nothing"), ("empty", "no images in it; accepted are")):
        with pytest.raises(DataError, match=words):
            images_at(address)


# the command


def test_the_command_makes_a_store_goes_quiet_and_refuses_another_tower(capsys: pytest.CaptureFixture[str]) -> None:
    put("pets/a.png", "pets/cats/1.png")
    line = ["features", "pets", "--tower", vit(Path("vit")), "--device", "cpu", "--out", "out/pets"]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert said.startswith("out/pets: 2 images, each 4 x 4 features of width 8 by hf:./vit; ") and "images/s, sha256 " in said
    store = open_store("out/pets", width=8)
    assert [*store.ids] == ["a", "cats/1"] and store.row("a").dtype == np.float16
    assert main(line) == 0 and "all 2 images are there already, from the same tower" in capsys.readouterr().out
    assert main([*line, "--resize", "backbone", "--image-size", "32"]) == 2
    assert "size 16 for 32" in capsys.readouterr().err
    assert main([*line[:-1], "out/files", "--format", "h5-files", "--dtype", "float32", "--batch-size", "1"]) == 0
    assert Path("out/files/cats/1.h5").is_file() and open_store("out/files").row("a").dtype == np.float32


def test_the_command_skips_and_says_what_it_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    put(*(f"pets/{i:03}.png" for i in range(100)))
    Path("pets/007.png").write_bytes(b"no picture")
    line = ["features", "pets", "--tower", vit(Path("vit")), "--device", "cpu", "--out", "out"]
    assert main(line) == 3 and "1 of 100 images cannot be used" in (err := capsys.readouterr().err) and "007.png" in err
    assert main([*line, "--on-bad-image", "skip"]) == 0
    assert capsys.readouterr().out.startswith("left out: 007: not an image")


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    put("pets/a.png")

    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inarch.features.extraction._extract", pressed)
    assert main(["features", "pets", "--tower", vit(Path("vit")), "--device", "cpu", "--out", "out"]) == 130
    assert "what is in out is kept: run the same command again" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "code", "said"), [
    (["gone", "--tower", "mini-vit", "--out", "o"], 3, "gone: there is nothing"),
    (["pets", "--tower", "mini-vti", "--out", "o"], 2, "mini-vit"),
    (["pets", "--tower", "mini-vit", "--out", "o", "--device", "abacus"], 2, "--device abacus is not available here"),
    (["pets", "--tower", "mini-vit", "--out", "o", "--format", "hdf"], 2, "hdf5"),
    (["pets", "--out", "o"], 2, "--tower"),
])  # fmt: skip
def test_bad_lines_write_nothing(words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    put("pets/a.png")
    assert main(["features", *words]) == code
    assert said in capsys.readouterr().err and not Path("o").exists()


def test_without_a_terminal_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(verb, "QUIET_SECONDS", 0.0)
    with verb.telling() as tell:
        tell("features", 32, 320)
        tell("features", 64, 320)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "features: 32 of 320, 0.0 images/s" and said[1].startswith("features: 64 of 320, ") and said[1].endswith(" left")
    assert verb.line("features", 10, 310, 5.0) == "features: 10 of 310, 5.0 images/s, 1 min 0 s left"
