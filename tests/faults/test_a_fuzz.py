"""A slice of the fuzz campaign (``make campaign`` runs the 10,000): adapter folders of three methods, and the generations of a run."""

import json
from functools import cache
from pathlib import Path

import pytest
from campaign import damage, fuzz
from campaign.subjects import AdapterFolder, Checkpoints, Files, tiny_vit

from inarch import files
from inarch.errors import CheckpointError, Corrupt, Mismatch

COUNT = 1000
NEWEST = "gen-000002/"


@pytest.mark.faults
@pytest.mark.row("A1", "fuzzed: cut anywhere, bytes deleted, inserted, repeated")
@pytest.mark.row("A2", "fuzzed: bits flipped, bytes overwritten, JSON respaced, two files spliced")
@pytest.mark.row("A3", "fuzzed: files exchanged within a folder, between adapters, between generations")
@pytest.mark.row("A5", "fuzzed: header lengths, duplicate keys, 100,000 brackets, NaN, half characters")
@pytest.mark.row("A6", "fuzzed: offsets, shapes and dtypes of the header, digests made right again")
def test_fuzzed_checkpoints_are_refused(tried):
    """Refused with a ``CheckpointError`` or ``StorageError``, or byte for byte what was written; resealed edits may be no-ops."""
    found = fuzz.run(lambda line: None, COUNT, seed=1)  # other inputs than the campaign's first thousand
    tried(found["inputs"])
    assert found["failures"] == []
    assert found["accepted_wrongly"] == found["foreign_exceptions"] == found["hangs"] == found["over_64_mb"] == 0
    assert found["model_untouched"] and found["inputs"] == COUNT
    assert found["refused"] > 0.8 * COUNT, "the inputs must be damaged, or nothing was tried"
    assert len(found["by_mutator"]) >= 18 and {"Corrupt", "Mismatch", "Incomplete", "Unsafe"} <= set(found["by_error"])


@cache
def checkpoints() -> Checkpoints:
    return Checkpoints()


def lay(folder: Path, contents: Files) -> None:
    for name, data in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read(folder: Path, changed: dict[str, bytes]) -> str:
    """Which generation is read where two were saved and ``changed`` was laid over them."""
    lay(folder, checkpoints().files | changed)
    return checkpoints().read(folder)[0]


@pytest.mark.row("A3", "a manifest edited by hand: other white space, a number as 7.0, another format, an entry gone")
@pytest.mark.parametrize("change", [
    lambda fields: fields["files"]["state.json"].update(bytes=float(fields["files"]["state.json"]["bytes"])),
    lambda fields: fields.update(format=True), lambda fields: fields.update(format=0),
    lambda fields: fields["files"].pop("best.safetensors"), lambda fields: fields["files"].pop("optimizer.safetensors"),
], ids=["number", "format true", "format 0", "best gone", "optimizer gone"])
def test_a_manifest_is_the_one_its_files_can_have(change, tmp_path):
    """The generation is refused and the one before it is used: no file of it may be left out, and no byte of it may differ."""
    name = f"{NEWEST}manifest.json"
    fields = json.loads(checkpoints().files[name])
    assert damage.text(fields) == checkpoints().files[name] and read(tmp_path, {}) == NEWEST
    change(fields)
    assert read(tmp_path, {name: damage.text(fields)}) == "gen-000001/"


def retyped(data: bytes, name: str) -> bytes:
    """A tensor of F32 read as I32."""
    header, payload = damage.parts(data)
    header[name]["dtype"] = "I32"
    return damage.joined(header, payload)


def renamed(data: bytes, old: str, new: str) -> bytes:
    header, payload = damage.parts(data)
    header[new] = header.pop(old)
    return damage.joined(header, payload)


@pytest.mark.row("A11", "a checkpoint's tensors retyped, renamed or of another state, every digest made right again")
@pytest.mark.parametrize(("file", "change", "words"), [
    ("trained.safetensors", lambda data: retyped(data, "down"), "their shapes or dtypes differ"),
    ("best.safetensors", lambda data: renamed(data, "down", "up"), "down, up"),
    ("optimizer.safetensors", lambda data: retyped(data, "exp_avg/down"), "exp_avg/down .* is no moment"),
    ("optimizer.safetensors", lambda data: renamed(data, "step/bias", "step/bias2"), "step/bias2 .* is no moment"),
    ("state.json", lambda data: data.replace(b'"updates": 2', b'"updates": "2"'), "updates='2'; expected int"),
    ("state.json", lambda data: data.replace(b'"tally"', b'"tallies"'), "'tally'"),
    ("state.json", lambda data: data.replace(b'"best": {', b'"best": null, "rest": {'), "rest"),
], ids=["trained retyped", "best renamed", "moment retyped", "moment renamed", "updates a text", "tally gone", "best gone"])
def test_what_is_restored_is_checked_before_anything_is_changed(file, change, words, tmp_path):
    """``Corrupt``, saying which tensor or field; a run never goes on from integers taken for numbers, or without its moments."""
    subject = checkpoints()
    data = change(subject.files[NEWEST + file])
    assert data != subject.files[NEWEST + file]
    with pytest.raises(Corrupt, match=words):
        read(tmp_path, subject.reseal({NEWEST + file: data}, NEWEST + file, None))


def test_an_input_is_the_same_for_the_same_seed():
    subjects = [checkpoints()]
    assert [fuzz.make(subjects, n, 7).changed for n in range(40)] == [fuzz.make(subjects, n, 7).changed for n in range(40)]


@pytest.fixture(scope="module")
def adapter() -> AdapterFolder:
    return AdapterFolder("LoRA", tiny_vit())


@pytest.mark.row("A8", "a card that says it thawed more, less or something else than its tensors, its digest made right again")
@pytest.mark.parametrize("thaw", [[], ["norms"], ["head", "norms"]], ids=str)
def test_what_a_card_thaws_is_what_its_tensors_are(adapter, thaw, tmp_path):
    """``Mismatch``: values never go into a parameter that ``ungraft`` would not put back."""
    card = json.loads(adapter.files["adapter.json"]) | {"thaw": thaw}
    del card["digest"]
    lay(tmp_path, adapter.files | {"adapter.json": damage.text(card | {"digest": files.sha256(damage.text(card))})})
    with pytest.raises(Mismatch, match="is not what the adapter trained"):
        adapter.read(tmp_path)


@pytest.mark.row("A5", "half of a surrogate pair, as an escape")
def test_half_a_character_in_a_card(adapter, tmp_path):
    """``Corrupt``, as what no file could hold again."""
    data = adapter.files["adapter.json"]
    lay(tmp_path, adapter.files | {"adapter.json": data.replace(b'"backbone": "', b'"backbone": "\\ud800')})
    with pytest.raises(Corrupt, match="not valid JSON"):
        adapter.read(tmp_path)


@pytest.mark.faults
@pytest.mark.row("A2", "any field of a card replaced by any of 40 values of another kind, its digest made right again")
@pytest.mark.row("A16", "paths, NUL, %2e, drives and half characters in any field of a card, its digest made right again")
def test_a_resealed_card_may_hold_anything(tmp_path, tried):
    """A ``CheckpointError``, never an error of the code that tripped over it, and the model untouched; or the same values."""
    subject = AdapterFolder("LoRA with a head", tiny_vit())
    lay(tmp_path, subject.files)
    card = json.loads(subject.files["adapter.json"])
    _, values = subject.read(tmp_path)
    digest, refused = card.pop("digest"), 0
    for field, junk in ((field, junk) for field in card for junk in damage.JUNK):
        changed = damage.text(card | {field: junk})
        (tmp_path / "adapter.json").write_bytes(damage.text(card | {field: junk, "digest": files.sha256(changed)}))
        try:
            found = subject.read(tmp_path)[1]
            assert all(found[name].equal(value) for name, value in values.items()), (field, junk)
        except CheckpointError:
            refused += 1
        tried(1)
    assert digest and refused > 0.9 * len(card) * len(damage.JUNK)
