"""The report: what it says, that it says it from the run folder alone, that it loads nothing, and that no name can act on it."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from finished import dataset, run_folder
from PIL import Image

from inarch.errors import Corrupt, Incomplete
from inarch.report import write_report
from inarch.reporting import markdown, plots
from inarch.reporting.mistakes import MOST, worst, worst_multilabel
from inarch.run import Run

HOSTILE = ["<script>alert(1)</script>", 'a|b & "c"', "$x^2_", "日本 🐈", "[x](http://evil.example)",
           "a very long name of a class indeed, yes"]
LINES = [{"epoch": e, "loss": 1 / e, "lr": 0.01, "images_per_second": 9.0, "val": {"accuracy": 0.5, "loss": 0.9}} for e in (1, 2)]


class Seen(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def images(self) -> list[Image.Image]:
        """The pictures of mistakes, in order."""
        sources = [attrs["src"] for tag, attrs in self.tags if tag == "img" and "class" not in attrs]
        return [Image.open(io.BytesIO(base64.b64decode(s.removeprefix("data:image/png;base64,")))) for s in sources]


def wrong_everywhere(splits, part: str = "test") -> np.ndarray:
    """Every image is taken for the next class, the later the surer."""
    labels, n = getattr(splits, part).labels, len(splits.classes)
    logits = np.zeros((len(labels), n), np.float32)
    logits[np.arange(len(labels)), (labels + 1) % n] = 1 + np.arange(len(labels))
    return logits


def hostile(folder: Path) -> tuple[Run, Path]:
    """A run in which every image is wrong, on classes of hostile names; and its data."""
    splits = dataset(folder / "set.npz", HOSTILE)
    return run_folder(folder / "run", splits, wrong_everywhere(splits), lines=LINES), folder / "set.npz"


@pytest.fixture
def finished(tmp_path) -> tuple[Run, Path]:
    return hostile(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Run, Path, str]:
    """The same with its report, for tests that only read."""
    run, data = hostile(tmp_path_factory.mktemp("written"))
    return run, data, write_report(run.folder).read_text()


def test_it_states_what_a_number_must_state(written):
    run, data, page = written
    said = Seen(page).text
    for fact in ("ARC(rank=50, dropout=0.1) on set", "0.0 %test accuracy", "95 % interval", "5,000", "5,300 with head",
                 "the last of 10 is reported; the test images were scored once", str(data), run.card().data["sha256"],
                 "both sides resized to 64, bicubic", "augmentation: none", "mini-vit at 64 pixels", "spans=['attn', 'mlp']",
                 "lr 0.01", "inarch train --seed=3", "c" * 40, "torch 2.13.0", "2 threads each", "are alike", "22.0 kB"):
        assert fact in said, fact


def test_html_and_markdown_say_the_same(written):
    run, _, page = written
    said = Seen(page).text
    text = (run.folder / "report.md").read_text()
    for fact in ("test accuracy", "5,000", "the last of 10 is reported", "inarch train --seed=3", "c" * 40):
        assert fact in said and fact in text, fact
    assert [markdown.escaped(h) for h in re.findall(r"<h2>(.*?)</h2>", page)] == re.findall(
        r"^## (.*)$", text, re.M)  # fmt: skip


def test_the_page_loads_nothing_and_runs_nothing(written):
    seen = Seen(written[2])
    assert {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "object", "embed", "form", "a", "base"} == set()
    loading = {"src", "srcset", "href", "style", "data", "poster", "action"}
    addresses = [value for _, attrs in seen.tags for key, value in attrs.items() if key in loading]
    assert addresses and all(value.startswith("data:image/png;base64,") for value in addresses)
    assert not any(key.startswith("on") for _, attrs in seen.tags for key in attrs)
    (style,) = re.findall(r"<style>(.*?)</style>", written[2], re.S)
    assert "url(" not in style and "@import" not in style
    assert "prefers-color-scheme: dark" in style and any(tag == "source" for tag, _ in seen.tags)


def test_every_name_is_shown_and_none_is_obeyed(written):
    run, _, page = written
    said = Seen(page).text
    for name in run.card().classes:
        assert f"says {name}, " in said and f"is {name}, " in said
    text = (run.folder / "report.md").read_text()
    assert "<script>" not in page.replace("&lt;script&gt;", "") and "<script>" not in text
    assert r"a\|b &amp;" in text and r"[x]\(http" in text


def test_the_surest_mistakes_come_first_as_pictures_of_the_right_images(written):
    _, data, page = written
    images = Seen(page).images()
    with np.load(data, allow_pickle=False) as arrays:
        expected = arrays["x_test"][::-1]
    assert len(images) == 12
    for image, pixels in zip(images, expected, strict=True):
        assert np.array_equal(np.asarray(image), pixels.repeat(16, 0).repeat(16, 1))  # 8 pixels, enlarged to 128


@pytest.mark.long
def test_it_can_be_written_again_without_the_data(finished):
    run, data = finished
    first = write_report(run.folder).read_bytes()
    data.unlink()
    assert write_report(run.folder).read_bytes() == first


@pytest.mark.long
def test_where_the_data_is_gone_it_says_so_and_stands_without_pictures(finished):
    run, data = finished
    data.unlink()
    seen = Seen(write_report(run.folder).read_text())
    assert seen.images() == [] and "The pictures could not be drawn" in seen.text and "set.npz" in seen.text
    assert "says " in seen.text and not (run.folder / "mistakes.npz").exists()


@pytest.mark.long
def test_pictures_of_other_data_under_the_same_name_are_not_shown(finished, tmp_path):
    run, data = finished
    with np.load(data, allow_pickle=False) as arrays:
        changed = dict(arrays)
    changed["x_test"] = 255 - changed["x_test"]
    np.savez(data, **changed)
    seen = Seen(write_report(run.folder).read_text())
    assert seen.images() == [] and "is not the data that was scored" in seen.text


@pytest.mark.long
def test_kept_pictures_of_another_scoring_are_drawn_anew(finished):
    run, _ = finished
    path = run.folder / "mistakes.npz"
    write_report(run.folder)
    np.savez(path, part=np.array("test"), rows=np.array([0]), png_0=np.zeros(4, np.uint8))
    assert len(Seen(write_report(run.folder).read_text()).images()) == 12
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["rows"].tolist() == list(range(12))[::-1]


def test_data_at_hand_is_not_read_again(tmp_path):
    splits = dataset(tmp_path / "set.npz", ["a", "b"])
    run = run_folder(tmp_path / "run", splits, wrong_everywhere(splits))
    (tmp_path / "set.npz").unlink()
    assert len(Seen(write_report(run.folder, splits=splits).read_text()).images()) == 12


def test_without_a_test_part_validation_is_reported_and_named(tmp_path):
    splits = dataset(tmp_path / "set.npz", ["a", "b"], part="val")
    run = run_folder(tmp_path / "run", splits, wrong_everywhere(splits, "val"), part="val")
    said = Seen(write_report(run.folder).read_text()).text
    assert "val accuracy" in said and "test accuracy" not in said and "there was no test part" in said


def test_nothing_wrong_is_said_and_needs_no_data(tmp_path):
    splits = dataset(tmp_path / "set.npz", ["a", "b"])
    run = run_folder(tmp_path / "run", splits, np.eye(2, dtype=np.float32)[splits.test.labels])
    (tmp_path / "set.npz").unlink()
    seen = Seen(write_report(run.folder).read_text())
    assert "None of the 12 test images is classified wrongly" in seen.text and seen.images() == []


def test_several_labels_get_their_own_numbers(tmp_path):
    splits = dataset(tmp_path / "set.npz", ["cat", "dog", "eel"])
    labels = np.zeros((12, 3), np.float32)
    labels[::2, 0] = labels[::3, 1] = 1
    logits = np.where(labels > 0, 2.0, -2.0).astype(np.float32)
    logits[0, 0], logits[1, 2] = -9, 5
    run = run_folder(tmp_path / "run", splits, logits, labels=labels, lines=LINES)
    said = Seen(write_report(run.folder).read_text()).text
    assert "test mAP" in said and "micro-F1" in said and "several labels per image" in said
    assert "says no cat, 100.0 %" in said and "is cat, 0.0 %" in said and "says eel, 99.3 %" in said
    assert "Without a test image, so in no mean of recalls: eel" in said and "Confusion" not in said


def test_classes_come_worst_first(tmp_path):
    splits = dataset(tmp_path / "set.npz", ["good", "middling", "bad", "absent"], n=12)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    splits.test.labels[:] = labels
    predicted = np.array([0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 2])
    run = run_folder(tmp_path / "run", splits, 9 * np.eye(4, dtype=np.float32)[predicted])
    page = write_report(run.folder, splits=splits).read_text()
    table = page[page.index("Classes, worst first") :]
    assert re.findall(r'<th scope="row">(\w+)</th>', table)[:4] == ["bad", "middling", "good", "absent"]
    pairs = page[page.index("<h2>Confusion") : page.index("Classes, worst first")]
    assert re.findall(r'<th scope="row">(\w+)</th><td>(\w+)</td><td class="n">(\d+)</td>', pairs) == [
        ("bad", "middling", "3"), ("middling", "good", "1")]  # fmt: skip


def test_a_backbone_that_saw_the_set_is_named(tmp_path):
    splits = dataset(tmp_path / "set.npz", ["a", "b"])
    run = run_folder(tmp_path / "run", splits, wrong_everywhere(splits))
    assert "pre-trained on images of this set" not in Seen(write_report(run.folder).read_text()).text
    fields = run.result()
    fields["backbone"]["source"]["sets_seen"] = ["set"]
    run.write_result(fields)
    said = Seen(write_report(run.folder).read_text()).text
    assert "0.0 % †test accuracy" in said and "mini-vit († pre-trained on images of this set)" in said


def test_predictions_of_another_run_are_refused(finished):
    run, _ = finished
    splits = dataset(run.folder.parent / "set.npz", HOSTILE)
    run.write_predictions({"test": (wrong_everywhere(splits) * 2, splits.test.labels, splits.test.names)})
    with pytest.raises(Corrupt, match="they are not of the same run"):
        write_report(run.folder)
    assert not (run.folder / "report.html").exists()


@pytest.mark.long
def test_damaged_files_are_named_or_made_anew(finished):
    run, _ = finished
    first = write_report(run.folder).read_bytes()
    kept = run.folder / "mistakes.npz"
    kept.write_bytes(kept.read_bytes()[:-50])
    assert write_report(run.folder).read_bytes() == first
    run.predictions.write_bytes(run.predictions.read_bytes()[:-50])
    with pytest.raises(Corrupt, match=r"predictions\.npz cannot be read"):
        write_report(run.folder)
    np.savez(run.predictions, train_logits=np.zeros(1))
    with pytest.raises(Corrupt, match=r"expected test_logits.*found train_logits"):
        write_report(run.folder)


def test_an_unfinished_run_is_refused(finished):
    run, _ = finished
    run.predictions.unlink()
    with pytest.raises(Incomplete, match=r"no predictions\.npz"):
        write_report(run.folder)
    run.result_file.unlink()
    with pytest.raises(Incomplete, match="no result yet"):
        write_report(run.folder)


@pytest.mark.parametrize("n", [1, 13, pytest.param(71, marks=pytest.mark.long), pytest.param(130, marks=pytest.mark.long)])
def test_confusion_is_drawn_for_any_number_of_classes(n):
    names = [f"${k}_{'日' if k == 1 else 'x'}" * (1 + k % 3) for k in range(n)]
    plot = plots.confusion(np.eye(n, dtype=int) * 5 + np.eye(n, k=1, dtype=int), names)
    sizes = {Image.open(io.BytesIO(png)).size for png in (plot.light, plot.dark)}
    assert len(sizes) == 1 and plot.light != plot.dark
    (width, height), density = sizes.pop(), 160 if n <= 30 else 120
    assert width == pytest.approx(plot.width * density / 96, abs=2)
    assert not 13 <= n <= 100 or min(width, height) > 25 * n  # a cell has room for its number


def test_confusion_colours_follow_the_share_of_the_true_class():
    plot = plots.confusion(np.array([[100, 0], [0, 1]]), ["a", "b"])
    pixels = np.asarray(Image.open(io.BytesIO(plot.light)).convert("RGB")).reshape(-1, 3)
    full = np.array([0x0A, 0x3F, 0x7F])
    share = (np.abs(pixels.astype(int) - full).max(1) <= 2).mean()
    empty = (pixels == 255).all(1).mean()
    assert share > 0.15 and empty > 0.15  # both diagonal cells are full, though one holds a single image


@pytest.mark.parametrize("lines", [LINES, LINES[:1], [{"epoch": 1, "loss": 0.5, "lr": 0.1}]])
def test_curves_are_drawn_with_and_without_validation(lines):
    plot = plots.curves(lines, "accuracy")
    width = Image.open(io.BytesIO(plot.light)).width
    assert (plot.width == 864) == ("val" in lines[0]) and width > 1.5 * plot.width


def test_worst_equals_a_naive_search():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 4)), rng.integers(0, 4, 200)
    names = [f"{i}.png" for i in range(200)]
    found = worst(logits, labels, names, "abcd")
    powers = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    naive = sorted((i for i in range(200) if powers[i].argmax() != labels[i]), key=lambda i: -powers[i].max())[:MOST]
    assert [m.row for m in found] == naive and len(found) == MOST
    said = [(m.name, m.true, m.predicted) for m in found]
    assert said == [(names[i], "abcd"[labels[i]], "abcd"[powers[i].argmax()]) for i in naive]
    assert [m.probability for m in found] == pytest.approx([powers[i].max() for i in naive])
    assert [m.of_truth for m in found] == pytest.approx([powers[i, labels[i]] for i in naive])


def test_worst_multilabel_asks_the_threshold():
    logits, labels = np.log([[0.6 / 0.4, 0.2 / 0.8]]), np.array([[0, 1]])
    (at_half,) = worst_multilabel(logits, labels, ["x"], ["cat", "dog"], 0.5)
    assert (at_half.true, at_half.predicted, at_half.probability) == ("dog", "no dog", pytest.approx(0.8))
    (above,) = worst_multilabel(logits, np.array([[0, 0]]), ["x"], ["cat", "dog"], 0.5)
    assert (above.true, above.predicted, above.of_truth) == ("no cat", "cat", pytest.approx(0.4))
    assert worst_multilabel(logits, np.array([[0, 0]]), ["x"], ["cat", "dog"], 0.7) == []


@pytest.mark.parametrize(("text", "safe"), [
    ("nlvr_count7", "nlvr_count7"), ("_x_", r"\_x\_"), ("[0.1, 0.2]", "[0.1, 0.2]"), ("[a](b)", r"[a]\(b)"), ("# x", r"\# x"),
    ("a\n- b", "a - b"), ("<b>", "&lt;b&gt;"), ("*a*|`b`", r"\*a\*\|\`b\`"), ("&amp;", "&amp;amp;"), ("1. x", r"1\. x"),
])  # fmt: skip
def test_markdown_shows_text_as_it_is(text, safe):
    assert markdown.escaped(text) == safe
