"""An adapter folder is exactly what was written, or it is refused by name and the model is untouched."""

import copy
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from families import FAMILIES, pristine
from safetensors.torch import load, save
from torch import nn

import inarch
from inarch import ARC, LoRA, files
from inarch.errors import CannotGraft, CheckpointError, Corrupt, Incomplete, Mismatch, StorageError, Unsafe

FAMILY = FAMILIES["hf-vit"]


def fresh(seed: int | None = None) -> nn.Module:
    model = copy.deepcopy(pristine("hf-vit"))
    if seed is not None:
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
    return model


@pytest.fixture
def folder(tmp_path) -> Path:
    model = fresh()
    inarch.graft(model, ARC(rank=4), thaw="head")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return inarch.save(model, tmp_path / "adapter")


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def state_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def refuses(folder: Path, error: type, match: str | None = None, model: nn.Module | None = None) -> None:
    """Loading raises ``error`` and leaves the model as it was."""
    model = fresh() if model is None else model
    before = state_hash(model)
    with pytest.raises(error, match=match):
        inarch.load(model, folder)
    assert state_hash(model) == before and "inarch" not in model._modules


def reseal(folder: Path, card: dict | None = None, tensors: dict | None = None, data: bytes | None = None) -> None:
    """What a knowing hand could do: new weights or fields, with every digest made right again."""
    fields = json.loads((folder / "adapter.json").read_text()) | (card or {})
    if tensors is not None:
        data = save(tensors)
    if data is not None:
        weights(folder).write_bytes(data)
        fields |= {"bytes": len(data), "sha256": files.sha256(data)}
    fields.pop("digest")
    fields["digest"] = files.sha256(files.canonical(fields))
    (folder / "adapter.json").write_bytes(files.canonical(fields))


@pytest.mark.long
def test_any_truncation_is_refused(folder):
    whole = weights(folder).read_bytes()
    model = fresh()
    before = state_hash(model)
    for length in [*range(0, 2000), *range(2000, len(whole), 97)]:
        weights(folder).write_bytes(whole[:length])
        with pytest.raises(Corrupt):
            inarch.load(model, folder)
    assert state_hash(model) == before


def test_any_flipped_bit_is_refused(folder):
    model, generator = fresh(), torch.Generator().manual_seed(0)
    for path in (weights(folder), folder / "adapter.json"):
        whole = path.read_bytes()
        for bit in torch.randint(0, 8 * len(whole), (400,), generator=generator).tolist():
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            with pytest.raises(CheckpointError):
                inarch.load(model, folder)
        path.write_bytes(whole)
    assert inarch.load(model, folder) == {}


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", " ", 1), lambda t: t + " ", lambda t: t.replace('"arc"', '"lora"'),
                                    lambda t: "{}", lambda t: "[1]", lambda t: t[:-3], lambda t: t.replace('"format"', '"from"', 1),
                                    lambda t: t.replace('"bytes"', '"bytes": 1, "bytes"'), lambda t: t.replace("50", "NaN")])
def test_any_change_of_the_card_is_refused(folder, change):
    text = (folder / "adapter.json").read_text()
    changed = change(text)
    if changed == text:
        changed = text.upper()
    (folder / "adapter.json").write_text(changed)
    refuses(folder, Corrupt)


def test_files_of_two_adapters_do_not_mix(folder, tmp_path):
    model = fresh()
    inarch.graft(model, ARC(rank=4), thaw="head")
    other = inarch.save(model, tmp_path / "other")
    weights(folder).write_bytes(weights(other).read_bytes())
    refuses(folder, Corrupt, "bytes that are not the")


def test_missing_files(folder, tmp_path):
    refuses(tmp_path / "nowhere", Incomplete, "is not a folder")
    weights(folder).unlink()
    refuses(folder, Incomplete, "no such file")
    (folder / "adapter.json").unlink()
    refuses(folder, Incomplete, "adapter.json: no such file")


@pytest.mark.parametrize("edit", ["missing", "half", "renamed", "extra", "shape", "int8", "nan", "inf"])
def test_other_tensors_are_refused_even_with_right_digests(folder, edit):
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
    elif edit == "int8":
        tensors[first] = tensors[first].to(torch.int8)
    else:
        tensors[first].view(-1)[3] = float(edit)
    reseal(folder, tensors=tensors)
    words = {"missing": "1 missing tensors", "half": "missing tensors", "renamed": "missing tensors", "extra": "1 unexpected tensors",
             "shape": "has shape", "int8": "has dtype I8", "nan": "1 values that are not finite", "inf": "1 values that are not finite"}
    refuses(folder, Corrupt if edit in ("nan", "inf") else Mismatch, words[edit])


def test_narrower_floats_are_converted(folder):
    tensors = {name: value.to(torch.float16) for name, value in load(weights(folder).read_bytes()).items()}
    reseal(folder, tensors=tensors)
    model = fresh()
    inarch.load(model, folder)
    assert torch.equal(model.inarch.default.vision_attn_32.bias, tensors["vision_attn_32.bias"].double())


@pytest.mark.parametrize(("card", "error", "words"), [
    ({"config": {"rank": 5}}, Mismatch, "has shape"), ({"config": {"rank": -1}}, Mismatch, "out of range"),
    ({"config": {"rank": "4"}}, Mismatch, "expected int"), ({"config": {"rnak": 4}}, Mismatch, "did you mean 'rank'"),
    ({"method": "ark"}, Mismatch, "did you mean 'arc'"), ({"format": 2}, Mismatch, "newer"), ({"format": "1"}, Corrupt, "format"),
    ({"weights": "../evil.safetensors"}, Unsafe, "reaches outside"), ({"weights": "/etc/passwd"}, Unsafe, "reaches outside"),
    ({"weights": 3}, Unsafe, "reaches outside"),
])
def test_another_configuration_is_refused(folder, card, error, words):
    reseal(folder, card)
    refuses(folder, error, words)


class Canary:
    def __reduce__(self):
        return os.system, ("touch canary",)


@pytest.mark.parametrize("form", ["pickle", "zip"])
def test_a_pickle_in_disguise_is_never_opened(folder, form, monkeypatch):
    monkeypatch.chdir(folder)
    data = pickle.dumps({"w": Canary()})
    if form == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        data = buffer.getvalue()
    weights(folder).write_bytes(data)
    refuses(folder, Unsafe, "is a pickle or an archive")
    reseal(folder, data=data)
    refuses(folder, Unsafe, "is a pickle or an archive")
    assert not (folder / "canary").exists()


def test_links_devices_and_folders_in_place_of_files(folder, tmp_path):
    real = weights(folder)
    moved = tmp_path / "elsewhere.safetensors"
    real.rename(moved)
    real.symlink_to(moved)
    refuses(folder, Unsafe, "symbolic link")
    real.unlink()
    real.mkdir()
    refuses(folder, Corrupt, "not a regular file")
    real.rmdir()
    os.mkfifo(real)
    refuses(folder, Corrupt, "not a regular file")  # and does not wait for a writer


@pytest.mark.parametrize("length", [2**40, 0, 1, 10**6])
def test_a_lying_header_is_refused_before_anything_is_read(folder, length):
    data = struct.pack("<Q", length) + weights(folder).read_bytes()[8:]
    reseal(folder, data=data)
    refuses(folder, Corrupt, "header")


def test_a_huge_declared_tensor_is_refused_before_allocation(folder):
    header = json.dumps({"vision_attn_32.down": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    reseal(folder, data=struct.pack("<Q", len(header)) + header)
    refuses(folder, Mismatch)


def test_another_backbone_of_the_same_shape_is_refused(folder, caplog):
    other = fresh(seed=1)
    refuses(folder, Mismatch, "same architecture with other weights", other)
    inarch.load(other, folder, allow_base_mismatch=True)
    assert "loaded onto another backbone as asked" in caplog.text


def test_another_architecture_is_refused(folder):
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 8, "num_labels": 5}
    refuses(folder, Mismatch, "another architecture", ViTForImageClassification(ViTConfig(**shape, num_hidden_layers=4)).double())


def test_another_head_is_refused(folder):
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
    other = ViTForImageClassification(ViTConfig(**shape, num_hidden_layers=3, num_labels=6)).double()
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
