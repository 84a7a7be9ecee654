"""Vision-language backbones by address: a transformers folder, a folder of our own, the papers' shapes; and every way these can be bad."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from chatter import save_backbone, tokenizer
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file

from inarch import backbones
from inarch.backbones import vl
from inarch.errors import CheckpointError, ConfigError, Corrupt, Incomplete, Mismatch, Unsafe

KINDS = ("bart", "t5")
SHAPE = {"feature_width": 6, "visual_tokens": 4}


@pytest.fixture(scope="module", params=KINDS)
def stock(request, tmp_path_factory) -> Path:
    """A folder that transformers wrote."""
    folder = tmp_path_factory.mktemp(request.param)
    save_backbone(folder, request.param)
    return folder


@pytest.fixture
def folder(stock, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(stock, tmp_path / "copy"))


@pytest.fixture
def own(stock, tmp_path) -> Path:
    """A folder that ``save`` wrote."""
    return vl.save(backbones.load(f"vl:{stock}", **SHAPE, seed=3).model, tmp_path / "own", tower="mini-vit")


def said(model) -> torch.Tensor:
    words = model.tokenizer(["what colour is this ?", "vqa : left of the red square"], padding=True, return_tensors="pt")
    features = torch.randn(2, 2, 9, 6, generator=torch.Generator().manual_seed(1))
    return model(words["input_ids"], words["attention_mask"], features, torch.tensor([[5, 6, 2], [7, 2, -100]]))


def test_a_transformers_folder(stock):
    before = tensors_of((stock / "model.safetensors").read_bytes())
    state = torch.get_rng_state()
    found = backbones.load(f"vl:{stock}", **SHAPE, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    model = found.model
    assert not model.training and found.library == "transformers" and found.source["pretrained"]
    table = model.language.get_input_embeddings().weight
    old = before["shared.weight" if "shared.weight" in before else "model.shared.weight"]
    assert torch.equal(table[: len(old)], old) and len(table) == len(model.tokenizer) == len(old) + 200
    assert torch.isfinite(table).all() and table[len(old) :].std() > 0.01
    assert model.language.get_output_embeddings().weight is table
    assert torch.isfinite(said(model)).all()
    again = backbones.load(f"vl:{stock}", **SHAPE, seed=3).model
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    other = backbones.load(f"vl:{stock}", **SHAPE, seed=4).model
    assert not torch.equal(other.visual.feature.weight, model.visual.feature.weight)


def test_words_of_the_visual_tokens_are_the_last_rows(stock):
    """Row vocab - 1 - k is <vis_extra_id_k>; before these, <extra_id_k> in the same order."""
    words = backbones.load(f"vl:{stock}", **SHAPE).model.tokenizer
    size = len(words)
    assert [words.convert_tokens_to_ids(f"<vis_extra_id_{k}>") for k in range(100)] == [size - 1 - k for k in range(100)]
    assert [words.convert_tokens_to_ids(f"<extra_id_{k}>") for k in range(100)] == [size - 101 - k for k in range(100)]
    assert words("red <extra_id_3>")["input_ids"].count(size - 104) == 1  # one token, never cut


def test_a_tokenizer_that_has_some_of_the_words_gets_the_others(tmp_path):
    """T5's has its own <extra_id_k>: they stay where they are, and only the visual words come behind them."""
    save_backbone(tmp_path, "t5")
    words = tokenizer("t5")
    words.add_tokens([f"<extra_id_{k}>" for k in reversed(range(100))], special_tokens=True)
    words.save_pretrained(tmp_path)
    model = backbones.load(f"vl:{tmp_path}", **SHAPE).model
    assert len(model.tokenizer) == len(words) + 100 == model.language.get_input_embeddings().num_embeddings
    assert model.tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(words) - 1
    vl.save(model, tmp_path / "grown")
    again = backbones.load(f"vl:{tmp_path / 'grown'}").model
    assert len(again.tokenizer) == len(model.tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_projector_starts_as_the_family_starts_it(kind, tmp_path):
    save_backbone(tmp_path, kind)
    visual = backbones.load(f"vl:{tmp_path}", feature_width=512, visual_tokens=4).model.visual
    if kind == "bart":
        assert 0.018 < visual.feature.weight.std() < 0.022 and not visual.feature.bias.any() and not visual.box.bias.any()
        assert visual.image_order.weight.abs().max() < 0.1
    else:
        assert 0.9 / 512**0.5 < visual.feature.weight.abs().max() <= 1 / 512**0.5 and visual.feature.bias.any()
        assert visual.image_order.weight.std() > 0.5


def test_our_own_folder_round_trip(stock, own):
    first = backbones.load(f"vl:{stock}", **SHAPE, seed=3).model
    for address in (f"vl:{own}", str(own)):  # its card says what it is
        model = backbones.load(address).model
        assert torch.equal(said(model), said(first))
        assert (model.visual.width, model.visual.tokens) == (6, 4)
    assert json.loads((own / "vision_language.json").read_text())["tower"] == "mini-vit"
    every = backbones.load(f"vl:{vl.save(backbones.load(f'vl:{stock}', feature_width=6, visual_tokens=0).model, own / 'all')}").model
    assert every.visual.tokens is None


def test_without_weights(stock, own):
    drawn = backbones.load(f"vl:{own}", pretrained=False, seed=1).model
    assert not torch.equal(said(drawn), said(backbones.load(f"vl:{own}").model))
    shapes = backbones.load(f"vl:{own}", device="meta").model
    assert all(p.is_meta for p in shapes.parameters())
    (stock / "model.safetensors").rename(stock / "away")
    assert backbones.load(f"vl:{stock}", pretrained=False, **SHAPE).source["pretrained"] is False
    (stock / "away").rename(stock / "model.safetensors")


@pytest.mark.parametrize(("name", "width", "tokens", "vocabulary"), [
    ("vl-bart-base", 2048, 36, 50465), ("vl-t5-base", 2048, 36, 32200), ("vl-bart-base-video", 512, 64, 50465)])
def test_the_papers_shapes_on_the_meta_device(name, width, tokens, vocabulary):
    found = backbones.load(f"config:{name}@2", device="meta")
    model = found.model
    assert (model.visual.width, model.visual.tokens, model.visual.image_order.num_embeddings) == (width, tokens, 2)
    assert model.language.get_input_embeddings().num_embeddings == vocabulary and model.tokenizer is None
    assert found.source["seed"] == 2 and all(p.is_meta for p in model.parameters())
    other = backbones.load(f"config:{name}", device="meta", feature_width=192, visual_tokens=0).model
    assert (other.visual.width, other.visual.tokens) == (192, None)


def refuse(address: str | Path, error: type[Exception], message: str, **more: object) -> None:
    with pytest.raises(error, match=message):
        backbones.load(str(address), **{**SHAPE, **more})


def test_a_folder_without_a_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refuse(f"vl:{folder}", ConfigError, r"no tokenizer; expected tokenizer\.json or .*save_pretrained\(folder\)")


def test_a_broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{")
    refuse(f"vl:{folder}", ConfigError, "no tokenizer that transformers can read")


def test_missing_pickled_and_damaged_weights(folder):
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    tensors = tensors_of(data)
    weights.write_bytes(data[:-100])
    refuse(f"vl:{folder}", Corrupt, "not a whole safetensors file")
    name = next(n for n in tensors if n.endswith("wo.weight") or n.endswith("fc2.weight"))
    save_file({n: v for n, v in tensors.items() if n != name}, weights, metadata={"format": "pt"})
    refuse(f"vl:{folder}", Mismatch, "the weights lack, or hold in another shape")
    save_file({n: v[:, :8].contiguous() if n == name else v for n, v in tensors.items()}, weights, metadata={"format": "pt"})
    refuse(f"vl:{folder}", CheckpointError, name.replace(".", r"\."))
    save_file({n: v * torch.nan if n == name else v for n, v in tensors.items()}, weights, metadata={"format": "pt"})
    refuse(f"vl:{folder}", Corrupt, "not finite")
    weights.unlink()
    refuse(f"vl:{folder}", Incomplete, "no weights; expected")
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    refuse(f"vl:{folder}", Unsafe, "only pickled weights")


@pytest.mark.parametrize(("changes", "message"), [
    ({"decoder_layers": 1, "num_decoder_layers": 1}, "the weights hold .*decoder.*, for which config.json has no place"),
    ({"decoder_layers": 3, "num_decoder_layers": 3}, r"the weights lack, or hold in another shape, .*\(.* in all\)"),
    ({"encoder_ffn_dim": 48, "d_ff": 48}, "the weights lack, or hold in another shape"),
])
def test_weights_of_another_shape_than_the_configuration(folder, changes, message):
    card = folder / "config.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))
    refuse(f"vl:{folder}", Mismatch, message)


def test_another_kind_of_model(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    refuse(f"vl:{folder}", ConfigError, "no vision-language backbone is made of a 'vit'; known: bart, t5")


def test_a_projector_made_for_other_features(own):
    refuse(f"vl:{own}", ConfigError, "made for feature_width=6, not 7", feature_width=7)
    refuse(f"vl:{own}", ConfigError, "made for visual_tokens=4, not 9", visual_tokens=9)


@pytest.mark.parametrize(("damage", "error", "message"), [
    (lambda d: d[:40], Corrupt, "visual.safetensors"), (lambda d: b"PK\x03\x04" + d, Unsafe, "pickle or an archive"),
    (lambda d: b"", Corrupt, "visual.safetensors"),
])
def test_a_damaged_projector(own, damage, error, message):
    path = own / "visual.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    refuse(f"vl:{own}", error, message)


def test_a_projector_of_other_tensors(own):
    path = own / "visual.safetensors"
    good = tensors_of(path.read_bytes())
    save_file({n: v for n, v in good.items() if n != "box.weight"}, path)
    refuse(f"vl:{own}", Mismatch, "1 missing tensors: box.weight")
    save_file(good | {"more": torch.ones(1)}, path)
    refuse(f"vl:{own}", Mismatch, "1 unexpected tensors: more")
    save_file(good | {"box.weight": torch.ones(2, 5)}, path)
    refuse(f"vl:{own}", Mismatch, r"box.weight has shape \[2, 5\]")
    save_file(good | {"box.bias": torch.full((16,), torch.nan)}, path)
    refuse(f"vl:{own}", Corrupt, "box.bias holds 16 values that are not finite")
    path.unlink()
    refuse(f"vl:{own}", Incomplete, "visual.safetensors: no such file")


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"format": 2}, Mismatch, "format 2; this inarch reads 1"), ({"feature_width": None}, CheckpointError, "feature_width"),
    ({"feature_width": "6"}, CheckpointError, "feature_width"), ({"visual_tokens": -1}, CheckpointError, "visual_tokens"),
    ({"images": 0}, CheckpointError, "images"), ({"feature_width": 10**12}, CheckpointError, "feature_width is 10+; expected"),
])
def test_a_card_that_says_something_else(own, changes, error, message):
    card = own / "vision_language.json"
    card.write_text(json.dumps({n: v for n, v in (json.loads(card.read_text()) | changes).items() if v is not None}))
    with pytest.raises(error, match=message):
        backbones.load(f"vl:{own}")


def test_a_card_that_is_no_json(own):
    (own / "vision_language.json").write_text('{"format": 1, "format": 1}')
    refuse(f"vl:{own}", Corrupt, "a key occurs twice")


def test_what_no_folder_and_no_hub_can_give():
    refuse("vl:./nowhere", ConfigError, "no backbone folder")
    refuse("config:vl-bart-bsae", ConfigError, "did you mean 'vl-bart-base'")
    refuse("vl:facebook/bart-base", Exception, "facebook/bart-base")
    refuse("config:vl-bart-base", ConfigError, "feature_width=0", feature_width=0)
    refuse("config:vl-bart-base", ConfigError, "visual_tokens=-1", visual_tokens=-1)
