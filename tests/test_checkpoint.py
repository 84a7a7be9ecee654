"""An adapter folder is exactly what was written, or it is refused by name and the model is untouched."""

import copy
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from adapter_files import adapter, fresh, memory, refuses, reseal, state_hash, weights
from families import FAMILIES
from safetensors.torch import load
from torch import nn

import inarch
from inarch import ARC, LoRA, card, files
from inarch.errors import CannotGraft, CheckpointError, ConfigError, Corrupt, Incomplete, Mismatch, StorageError, Unsafe

FAMILY = FAMILIES["hf-vit"]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 8}


@pytest.fixture
def folder(tmp_path) -> Path:
    return adapter(tmp_path / "adapter")


@pytest.mark.row("A2", "any change of the card's text, made by hand")
@pytest.mark.parametrize("change", [lambda t: t.replace("\n", " ", 1), lambda t: t + " ", lambda t: t.replace('"arc"', '"lora"'),
                                    lambda t: "{}", lambda t: "[1]", lambda t: t[:-3], lambda t: t.replace('"format"', '"from"', 1),
                                    lambda t: t.replace('"bytes"', '"bytes": 1, "bytes"'), lambda t: t.replace('"rank": 4', '"rank": NaN')])
def test_any_change_of_the_card_is_refused(folder, change):
    """`Corrupt`: the card's digest is over its own bytes."""
    text = (folder / "adapter.json").read_text()
    changed = change(text)
    assert changed != text
    (folder / "adapter.json").write_text(changed)
    refuses(folder, Corrupt)


def test_what_was_verified_before_is_compared_and_not_trusted(folder, monkeypatch):
    """A second load of the same bytes works nothing out again; of changed ones everything, at the same path, and refuses."""
    inarch.load(fresh(), folder)
    with monkeypatch.context() as again:
        for worked_out in ("canonical", "parse_json"):
            again.setattr(files, worked_out, lambda *_: pytest.fail("worked out again"))
        inarch.load(fresh(), folder)
    written = (folder / "adapter.json").read_bytes()
    for changed in (written.replace(b"\n", b" ", 1), written.replace(b'"rank": 4', b'"rank": 5')):
        (folder / "adapter.json").write_bytes(changed)
        refuses(folder, Corrupt)
    (folder / "adapter.json").write_bytes(written)
    data = weights(folder).read_bytes()
    assert files.header(data, weights(folder))
    for cut in (data[:-4], data + bytes(4)):
        with pytest.raises(Corrupt, match="its tensors fill"):
            files.header(cut, weights(folder))
    inarch.load(fresh(), folder)


@pytest.mark.row("A3", "the weights of one adapter in the folder of another, under its name")
def test_files_of_two_adapters_do_not_mix(folder, tmp_path):
    """`Corrupt`: the card names the SHA-256 of its weights."""
    other = adapter(tmp_path / "other", seed=1)
    weights(folder).write_bytes(weights(other).read_bytes())
    refuses(folder, Corrupt, "another SHA-256")


def test_missing_files(folder, tmp_path):
    refuses(tmp_path / "nowhere", Incomplete, "is not a folder")
    weights(folder).unlink()
    refuses(folder, Incomplete, "no such file")
    (folder / "adapter.json").unlink()
    refuses(folder, Incomplete, "adapter.json: no such file")


@pytest.mark.row("A8", "a tensor, or half of them, dropped or all renamed; every digest made right again")
@pytest.mark.row("A9", "one tensor too many; every digest made right again")
@pytest.mark.row("A10", "a tensor of another shape; every digest made right again")
@pytest.mark.row("A11", "a tensor of whole numbers, truth values or complex numbers; every digest made right again")
@pytest.mark.row("A12", "one value made NaN or inf; every digest made right again")
@pytest.mark.parametrize("edit", ["missing", "half", "renamed", "extra", "shape", "int8", "bool", "complex64", "nan", "inf", "-inf"])
def test_other_tensors_are_refused_even_with_right_digests(folder, edit):
    """`Mismatch` with up to ten names and their count, both shapes, or the dtype; for values that are no numbers `Corrupt`, with the
    tensor and the count.
    """
    tensors = load(weights(folder).read_bytes())
    first, names = next(iter(tensors)), list(tensors)
    if edit == "missing":
        del tensors[first]
    elif edit == "half":
        tensors = {n: tensors[n] for n in names[::2]}
    elif edit == "renamed":
        tensors = {"x." + n: t for n, t in tensors.items()}
    elif edit == "extra":
        tensors["extra"] = torch.zeros(1)
    elif edit == "shape":
        tensors[first] = tensors[first][:1].clone()
    elif edit in ("int8", "bool", "complex64"):
        tensors[first] = tensors[first].to(getattr(torch, edit))
    else:
        tensors[first].view(-1)[3] = float(edit)
    reseal(folder, tensors=tensors)
    first_missing = ", ".join(sorted(names))
    words = {"missing": f"1 missing tensors: {first};", "half": "4 missing tensors: ", "renamed": f"8 missing tensors: {first_missing};",
             "int8": "has dtype I8", "bool": "has dtype BOOL", "extra": "1 unexpected tensors: extra;",
             "shape": r"has shape \[1.*expects \[",
             "complex64": "has dtype C64", **dict.fromkeys(("nan", "inf", "-inf"), f"{first} holds 1 values that are not finite")}
    refuses(folder, Corrupt if edit in ("nan", "inf", "-inf") else Mismatch, words[edit])


def test_of_many_missing_names_ten_are_told(tmp_path):
    inarch.save(inarch.graft(fresh(), LoRA(rank=2, targets=("q", "k", "v", "o", "fc1", "fc2"))), tmp_path / "a")
    tensors = load(weights(tmp_path / "a").read_bytes())
    reseal(tmp_path / "a", tensors={"x" + name: value for name, value in tensors.items()})
    with pytest.raises(Mismatch, match="12 missing tensors: ") as raised:
        inarch.load(fresh(), tmp_path / "a")
    assert str(raised.value).count("vision_") == 10


@pytest.mark.row("A11", "narrower or wider floating-point numbers than the model's; every digest made right again")
@pytest.mark.parametrize("width", [torch.float16, torch.bfloat16, torch.float32])
def test_other_floats_are_converted(folder, caplog, width):
    """Converted to the model's width, and the log says so; a value too large for it is refused."""
    tensors = {name: value.to(width) for name, value in load(weights(folder).read_bytes()).items()}
    reseal(folder, tensors=tensors)
    model = fresh()
    with caplog.at_level("INFO", "inarch"):
        inarch.load(model, folder)
    assert torch.equal(model.inarch.default.vision_attn_32.bias, tensors["vision_attn_32.bias"].double())
    assert f"vision_attn_32.bias converted from {width} to torch.float64" in caplog.text
    tensors = {name: value.double() for name, value in tensors.items()}
    tensors["vision_attn_32.bias"].view(-1)[0] = 1e300
    reseal(folder, tensors=tensors)
    refuses(folder, Mismatch, "vision_attn_32.bias holds values too large for torch.float32", fresh().float())


@pytest.mark.row("A10", "a card that asks for another rank, every digest made right again")
@pytest.mark.row("A16", "a card that names weights outside its folder, every digest made right again")
@pytest.mark.row("A19", "a card of a later format")
@pytest.mark.parametrize(("fields", "error", "words"), [
    ({"config": {"rank": 5}}, Mismatch, r"has shape \[.*expects \["), ({"config": {"rank": -1}}, Mismatch, "out of range"),
    ({"config": {"rank": "4"}}, Mismatch, "expected int"), ({"config": {"rnak": 4}}, Mismatch, "did you mean 'rank'"),
    ({"method": "ark"}, Mismatch, "did you mean 'arc'"), ({"format": "1"}, Corrupt, "format"), ({"format": True}, Corrupt, "format"),
    ({"format": 3, "needs": "0.9"}, Mismatch, "it needs inarch >= 0.9"), ({"format": 3, "needs": "<b>"}, Mismatch, "upgrade inarch"),
    ({"weights": "../evil.safetensors"}, Unsafe, "outside the folder"), ({"weights": "/etc/passwd"}, Unsafe, "outside the folder"),
    ({"weights": 3}, Unsafe, "outside the folder"), ({"bytes": -1}, Corrupt, "bytes='-1'"), ({"thaw": "head"}, Corrupt, "thaw="),
    ({"head": [1]}, Corrupt, "head="), ({"fingerprint": {}}, Corrupt, "fingerprint="), ({"extra": []}, Corrupt, "extra="),
    ({"thawed": ["base/head.weight"]}, Mismatch, "is not what the adapter trained"), ({"head": [2**40, 2**40]}, Mismatch, "adapter.json"),
])
def test_another_configuration_is_refused(folder, fields, error, words):
    """Refused by the name of the field: `Mismatch` for what another reader or model could take, `Unsafe` for a path, else `Corrupt`."""
    reseal(folder, fields)
    refuses(folder, error, words)


class Canary:
    def __reduce__(self):
        return os.system, ("touch canary",)


@pytest.mark.row("A15", "a pickle or a zip of one in place of the weights")
@pytest.mark.parametrize("form", [0, 2, 4, "zip"])
def test_a_pickle_in_disguise_is_never_opened(folder, form, monkeypatch):
    """`Unsafe`, whether or not the digests are right, and what it would run has not run."""
    monkeypatch.chdir(folder)
    data = pickle.dumps({"w": Canary()}, protocol=4 if form == "zip" else form)
    if form == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        data = buffer.getvalue()
    if form == 0:
        data = pickle.dumps(Canary(), protocol=0)
    weights(folder).write_bytes(data)
    refuses(folder, Unsafe, "is a pickle or an archive")
    reseal(folder, data=data)
    refuses(folder, Unsafe, "is a pickle or an archive")
    assert not (folder / "canary").exists()


@pytest.mark.row("A4", "a folder or a pipe in place of the weights")
@pytest.mark.row("A17", "a symbolic or hard link in place of a file of the folder")
def test_links_devices_and_folders_in_place_of_files(folder, tmp_path):
    """`Unsafe` for a link, `Corrupt` for what is no regular file, without waiting for a writer."""
    real = weights(folder)
    moved = tmp_path / "elsewhere.safetensors"
    os.link(real, moved)
    refuses(folder, Unsafe, "hard link")
    real.unlink()
    real.symlink_to(moved)
    refuses(folder, Unsafe, "symbolic link")
    real.unlink()
    real.mkdir()
    refuses(folder, Corrupt, "not a regular file")
    real.rmdir()
    os.mkfifo(real)
    refuses(folder, Corrupt, "not a regular file")  # and does not wait for a writer
    real.unlink()
    os.link(folder / "adapter.json", tmp_path / "other")
    refuses(folder, Unsafe, "adapter.json is a hard link")
    (tmp_path / "other").unlink()
    (folder / "adapter.json").rename(tmp_path / "card")
    (folder / "adapter.json").symlink_to(tmp_path / "card")
    refuses(folder, Unsafe, "symbolic link")


@pytest.mark.parametrize("length", [2**40, 0, 1, 10**6])
def test_a_lying_header_is_refused_before_anything_is_read(folder, length):
    data = struct.pack("<Q", length) + weights(folder).read_bytes()[8:]
    reseal(folder, data=data)
    refuses(folder, Corrupt, "header")


@pytest.mark.row("A7", "10^12 declared elements over a sparse file of 4 TB, its size in the card, the digest made right")
def test_a_huge_declared_tensor_is_refused_before_allocation(folder):
    """`Mismatch`: configuration and model say how many bytes there can be, so that not one more is read; memory stays flat."""
    header = json.dumps({"vision_attn_32.down": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    data, model = struct.pack("<Q", len(header)) + header, fresh()
    reseal(folder, data=data)
    refuses(folder, Corrupt, "its tensors fill 4000000000000 bytes of 0", model)
    whole = len(data) + 4 * 10**12
    os.truncate(weights(folder), whole)
    reseal(folder, {"bytes": whole})
    with memory(8 << 20):
        refuses(folder, Mismatch, f"has {whole} bytes; this method on this backbone needs at most", model)


@pytest.mark.row("A13", "a backbone of the same shapes with other numbers")
def test_another_backbone_of_the_same_shape_is_refused(folder, caplog):
    """`Mismatch` by the fingerprint; with `allow_base_mismatch` it loads, and the log says so."""
    other = fresh(seed=1)
    refuses(folder, Mismatch, "same architecture with other weights", other)
    inarch.load(other, folder, allow_base_mismatch=True)
    assert "loaded onto another backbone as asked" in caplog.text


@pytest.mark.row("A14", "a transformers ViT of other depth, width or patches")
@pytest.mark.parametrize(("change", "words"), [
    ({"num_hidden_layers": 4}, "vision: 3 layers of width 32, here 4 layers"),
    ({"hidden_size": 64}, "vision: 3 layers of width 32, here 3 layers of width 64"),
    ({"patch_size": 4}, r"base.2.weight \(patches\): 32x3x8x8, here 32x3x4x4"),
    ({"intermediate_size": 48}, "vision.fc1.weight: 64x32, here 48x32"),
])
def test_another_architecture_is_refused(folder, change, words):
    """`Mismatch`, and which depth or which tensor's shape differs."""
    from transformers import ViTConfig, ViTForImageClassification

    other = ViTForImageClassification(ViTConfig(**SHAPE | change, num_labels=5)).double()
    refuses(folder, Mismatch, f"another architecture.*{words}", other)


@pytest.mark.row("A14", "a head of another number of classes")
def test_another_head_is_refused(folder):
    """`Mismatch` with both shapes."""
    from transformers import ViTConfig, ViTForImageClassification

    other = ViTForImageClassification(ViTConfig(**SHAPE, num_labels=6)).double()
    other.load_state_dict({n: p for n, p in fresh().state_dict().items() if not n.startswith("classifier")}, strict=False)
    refuses(folder, Mismatch, r"head.bias has shape \[5\], this method on this backbone expects \[6\]", other)


@pytest.mark.parametrize(("saved", "loaded", "fits"), [
    (torch.float64, torch.float32, True), (torch.float32, torch.bfloat16, True),
    (torch.bfloat16, torch.float32, True), (torch.float16, torch.bfloat16, True),
])
def test_the_backbone_is_recognised_at_the_narrower_width(tmp_path, saved, loaded, fits):
    model = fresh().to(torch.bfloat16 if saved == torch.bfloat16 else torch.float32).to(saved)
    inarch.graft(model, ARC(rank=4))
    inarch.save(model, tmp_path / "a")
    narrow = fresh().to(torch.bfloat16 if saved == torch.bfloat16 else torch.float32).to(loaded)
    assert (inarch.load(narrow, tmp_path / "a") == {}) is fits


def test_a_brought_head_travels(tmp_path):
    model = fresh()
    inarch.graft(model, LoRA(rank=2), head=nn.Linear(32, 9).double())
    inarch.save(model, tmp_path / "a")
    other = fresh()
    inarch.load(other, tmp_path / "a")
    assert FAMILY.run(other).shape == (2, 9) and torch.equal(FAMILY.run(other), FAMILY.run(model))


def test_saving_again_replaces_whole_and_leaves_no_litter(folder):
    model = fresh()
    inarch.load(model, folder)
    for parameter in model.inarch.parameters():
        parameter.data += 1
    inarch.save(model, folder)
    assert len(list(folder.iterdir())) == 2
    other = fresh()
    inarch.load(other, folder)
    assert torch.equal(FAMILY.run(other), FAMILY.run(model))


def test_an_inactive_adapter_can_be_saved(tmp_path):
    model = fresh()
    inarch.graft(model, ARC(rank=4), name="a", thaw="head")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1
    out = FAMILY.run(model)
    inarch.graft(model, ARC(rank=4), name="b", thaw="head")
    inarch.save(model, tmp_path / "a", name="a")
    other = fresh()
    inarch.load(other, tmp_path / "a")
    assert torch.equal(FAMILY.run(other), out)


def test_a_merged_model_is_neither_saved_nor_grafted_nor_loaded(folder):
    model = fresh()
    inarch.load(model, folder)
    inarch.merge(model)
    with pytest.raises(CheckpointError, match="merged"):
        inarch.save(model, folder)
    with pytest.raises(CannotGraft, match="merged"):
        inarch.graft(model, ARC(rank=4))
    with pytest.raises(CannotGraft, match="merged"):
        inarch.load(model, folder)


def test_a_full_disk_keeps_the_old_adapter(folder, monkeypatch):
    model = fresh()
    inarch.load(model, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for parameter in model.inarch.parameters():
        parameter.data += 1

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inarch.files.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device; nothing that was there has been changed"):
        inarch.save(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("extra", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "\ud800"}, {"x": "y" * card.CARD_CAP}])
def test_what_could_not_be_read_again_is_not_written(tmp_path, extra):
    model = inarch.graft(fresh(), ARC(rank=4))
    with pytest.raises(ConfigError, match="extra"):
        inarch.save(model, tmp_path / "a", extra=extra)
    model.inarch.vision_attn_32.bias.data[0, 0] = float("inf")
    with pytest.raises(CheckpointError, match=r"not finite, the first vision_attn_32.bias; nothing was written"):
        inarch.save(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_two_that_save_into_one_folder(folder):
    """The second is refused while the first is at it; a reader in between takes the old adapter or the new one."""
    from inarch import folders

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with folders.alone(folder), pytest.raises(StorageError, match="another process is saving there"):
        adapter(folder, seed=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    adapter(folder, seed=2)


def test_an_adapter_that_is_saved_anew_while_it_is_read(folder, monkeypatch):
    """The old card was read, its weights are gone: the new adapter is taken whole."""
    from inarch import checkpoint

    read, times = checkpoint.read_card, []

    def slow(place: Path) -> dict:
        found = read(place)
        if not times:
            times.append(adapter(folder, seed=3))
        return found

    monkeypatch.setattr(checkpoint, "read_card", slow)
    model = fresh()
    inarch.load(model, folder)
    tensors = load(weights(folder).read_bytes())
    assert torch.equal(model.inarch.vision_attn_32.bias, tensors["vision_attn_32.bias"])


@pytest.mark.parametrize("active", [True, False])
def test_values_are_replaced_in_place(folder, tmp_path, active):
    """Same configuration, other numbers: the modules stay, the values, thawed ones too, are the file's; a damaged file changes nothing."""
    other = adapter(tmp_path / "other", seed=1)
    expected = FAMILY.run(loaded := fresh())
    inarch.load(loaded, other)
    expected = FAMILY.run(loaded)
    model = fresh()
    base = FAMILY.run(model)
    inarch.load(model, folder)
    first, modules = FAMILY.run(model), list(model.modules())
    if not active:
        inarch.use(model)
    inarch.load(model, other, replace=True)
    assert torch.equal(FAMILY.run(model), expected) and not torch.equal(first, expected)
    assert list(model.modules()) == modules
    weights(folder).write_bytes(weights(folder).read_bytes()[:-1])
    refuses(folder, Corrupt, "bytes; expected", model, replace=True)
    inarch.ungraft(model)
    assert torch.equal(FAMILY.run(model), base)


def test_only_the_same_configuration_is_replaced(folder, tmp_path):
    model = fresh()
    inarch.load(model, folder, replace=True)  # nothing of this name is there: grafted
    refuses(folder, CannotGraft, "already on this model", model)
    lora = inarch.save(inarch.graft(fresh(), LoRA(rank=2)), tmp_path / "lora")
    refuses(lora, Mismatch, "so its values cannot be replaced; ungraft it first", model, replace=True)
    headless = inarch.save(inarch.graft(fresh(), ARC(rank=4)), tmp_path / "headless")
    refuses(headless, Mismatch, "so its values cannot be replaced", model, replace=True)


def test_a_brought_head_is_replaced_too(tmp_path):
    model = inarch.graft(fresh(), LoRA(rank=2), head=nn.Linear(32, 9).double())
    inarch.save(model, tmp_path / "a")
    wanted = FAMILY.run(model)
    before = copy.deepcopy(state_hash(model))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1
    inarch.use(model)
    inarch.load(model, tmp_path / "a", replace=True)
    assert torch.equal(FAMILY.run(model), wanted) and state_hash(model) == before
