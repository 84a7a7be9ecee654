"""The table over data sets and seeds: the published average row from published numbers, what differs stays apart, what is missing shows."""

import re

import pytest
from finished import put, result
from test_fewshot_recipes import RECIPES, column

from inarch.errors import DataError
from inarch.tasks.matching import harmonic
from scripts.fewshot_average import OTHERS, SHIFTED, page


def run(folder, data, base, novel, *, seed=1, method="frozen", transfer=None, lr=0.01):
    """A few-shot ``result.json`` of chosen numbers."""
    fields = result(test=base, seed=seed, method=method, lr=lr)
    scores = {"base": base, "novel": novel, "harmonic": harmonic(base, novel), "transfer": transfer or {}, "transfer_mean": None}
    fields |= {"config": {}, "fewshot": scores}
    fields["data"] |= {"dataset": data, "listing_sha256": "c" * 64}
    return put(folder / f"{method}-{data}-{seed}-{lr}", "result.json", fields)


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("|")]
    return {(line[0], line[1]): line[2:] for line in cells}


def test_zero_shot_clip_has_its_published_average(tmp_path):
    """HM 71.70 is that of the averages; the mean of the sets' own would be 71.59."""
    names = ("ImageNet", *OTHERS)
    for name, (base, novel) in zip(names, column(RECIPES / "fewshot-zero-shot.toml"), strict=True):
        run(tmp_path, name, base / 100, novel / 100)
    found = rows(page([tmp_path]))
    assert [float(cell) for cell in found["Frozen", "average of 11"][:3]] == pytest.approx([69.34, 74.22, 71.70], abs=0.011)
    own = [float(cells[2]) for (_, data), cells in found.items() if data in names]
    assert len(own) == 11 and sum(own) / 11 == pytest.approx(71.59, abs=0.02)


def test_seeds_are_averaged_before_the_harmonic_mean(tmp_path):
    run(tmp_path, "EuroSAT", 0.9, 0.5, seed=1)
    run(tmp_path, "EuroSAT", 0.7, 0.9, seed=2)
    assert rows(page([tmp_path]))["Frozen", "EuroSAT"] == ["80.00", "70.00", "74.67", "2"]


def test_what_is_missing_gets_no_average(tmp_path):
    run(tmp_path, "EuroSAT", 0.9, 0.5)
    run(tmp_path, "UCF101", 0.9, 0.5)
    run(tmp_path, "UCF101", 0.8, 0.6, method="bitfit")
    found = rows(page([tmp_path]))
    assert found["BitFit", "average of 1"][:3] == ["–"] * 3 and found["Frozen", "average of 2"][0] == "90.00"


def test_settings_stay_apart_and_twins_are_refused(tmp_path):
    run(tmp_path, "EuroSAT", 0.9, 0.5)
    run(tmp_path, "EuroSAT", 0.8, 0.5, lr=0.1)
    assert {method for method, data in rows(page([tmp_path])) if data == "EuroSAT"} == {"Frozen, lr 0.01", "Frozen, lr 0.1"}
    run(tmp_path / "again", "EuroSAT", 0.9, 0.5)
    with pytest.raises(DataError, match="are the same run"):
        page([tmp_path])


def test_imagenet_to_other_sets(tmp_path):
    transfer = {name: 0.6 for name in OTHERS} | {name: 0.5 for name in SHIFTED}
    run(tmp_path, "ImageNet", 0.7, None, transfer=transfer)
    run(tmp_path, "ImageNet", 0.8, None, seed=2, transfer={name: value + 0.1 for name, value in transfer.items()})
    (found,) = [cells for (method, source), cells in rows(page([tmp_path])).items() if (method, source) == ("Frozen", "75.00")]
    assert found[:2] == ["65.00", "55.00"] and len(found) == 2 + 14 + 1 and found[-1] == "2"


def test_nothing_to_average(tmp_path):
    with pytest.raises(DataError, match="no finished run below"):
        page([tmp_path])
    put(tmp_path / "run", "result.json", result())
    with pytest.raises(DataError, match="none of these runs is a few-shot run"):
        page([tmp_path])
