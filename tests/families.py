"""Tiny random models of every backbone row, in fp64 and evaluation mode, each with a forward on fixed inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import tiny_decoder
import tiny_vl
import torch
from torch import Tensor, nn

SIZE = 32
VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "image_size": SIZE, "patch_size": 8}
TEXT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99,
        "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 98, "pad_token_id": 1}
CLASSES = 5


def pictures(batch: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randn(batch, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    words = torch.randint(2, 99, (batch, 8), generator=generator)
    words[:, -1] = 98  # the end of text of open_clip is its largest id
    return {"pixels": pixels, "words": words}


@dataclass(frozen=True)
class Family:
    """``build`` makes the model, ``forward`` runs it on what ``make`` gives and returns one tensor; ``rows``: of which its blocks are."""

    name: str
    rows: str  # joined by " + "
    build: Callable[[], nn.Module]
    forward: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    has_head: bool = True  # a task head to thaw
    depth: int = 3
    both_towers: bool = False
    make: Callable[[int], dict[str, Tensor]] = pictures

    def model(self) -> nn.Module:
        torch.manual_seed(len(self.name))
        model = self.build().double().eval()
        for parameter in model.parameters():  # no zero-initialised head, scale or bias may hide a mistake
            parameter.data += 0.05 * torch.randn_like(parameter)
        return model

    def inputs(self, batch: int = 2) -> dict[str, Tensor]:
        return self.make(batch)

    def run(self, model: nn.Module, batch: int = 2) -> Tensor:
        return self.forward(model, self.inputs(batch))


def _hf(config: str, model: str, **extra: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        return getattr(transformers, model)(getattr(transformers, config)(**{**VIT, "num_labels": CLASSES, **extra}))
    return build


def _hf_two(prefix: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{prefix}Config")(text_config=TEXT, vision_config=VIT, projection_dim=16)
        return getattr(transformers, f"{prefix}Model")(config)
    return build


def _hf_swin() -> nn.Module:
    from transformers import SwinConfig, SwinForImageClassification

    return SwinForImageClassification(SwinConfig(image_size=SIZE, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
                                                 window_size=4, mlp_ratio=2.0, num_labels=CLASSES, drop_path_rate=0.0))


def _timm(module: str, name: str, **kwargs: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import importlib

        return getattr(importlib.import_module(f"timm.models.{module}"), name)(num_classes=CLASSES, img_size=SIZE, **kwargs)
    return build


def _open_clip() -> nn.Module:
    import open_clip

    vision = {"layers": 3, "width": 32, "head_width": 8, "patch_size": 8, "image_size": SIZE}
    return open_clip.CLIP(16, vision, {"width": 32, "layers": 3, "heads": 4, "context_length": 8, "vocab_size": 99})


def _logits(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    return model(pixel_values=x["pixels"]).logits


def _plain(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    return model(x["pixels"])


def _pair(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    out = model(pixel_values=x["pixels"], input_ids=x["words"])
    return torch.cat([out.image_embeds, out.text_embeds], dim=-1)


def _open_clip_pair(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    return torch.cat([model.encode_image(x["pixels"]), model.encode_text(x["words"])], dim=-1)


def _timm_and_bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    from inarch.backbones.two_tower import Pair

    vision = _timm("vision_transformer", "VisionTransformer", **_VIT)()
    vision.reset_classifier(0)  # type: ignore[operator]
    shape = {key: value for key, value in TEXT.items() if not key.endswith("_token_id")}
    text = BertModel(BertConfig(**shape, pad_token_id=0), add_pooling_layer=False)
    return Pair(vision, text, nn.Linear(32, 16), nn.Linear(32, 16))


def _two_tower(stock: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from inarch.backbones.two_tower import TwoTower

        return TwoTower(stock())
    return build


def _features(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    """Of both towers, as ``_pair`` has them; the second text is shorter where the text tower is told so."""
    from inarch.backbones.two_tower import Tokens

    mask = torch.ones_like(x["words"])
    mask[1:, -2:] = 0
    return torch.cat([model.images(x["pixels"]), model.texts(Tokens(x["words"], mask))], dim=-1)  # type: ignore[operator]


def _vl(kind: str) -> dict[str, Callable]:
    """Text, features and labels to logits; T5 without its float32 islands."""
    return {"build": lambda: tiny_vl.widened(tiny_vl.wrapped(tiny_vl.STOCK[kind]())), "forward": lambda model, x: model(**x),
            "make": lambda batch: vars(tiny_vl.batch(kind, batch))}


def _ends(row: str) -> str:
    """The row of a family's blocks and that of what stands around them."""
    return f"{row} + {row} ends"


_CLIP = _ends("transformers CLIP") + " + transformers CLIP words"
_VIT = {"embed_dim": 32, "depth": 3, "num_heads": 4, "patch_size": 8}
FAMILIES = {family.name: family for family in [
    Family("hf-vit", _ends("transformers ViT"), _hf("ViTConfig", "ViTForImageClassification"), _logits),
    Family("hf-deit", _ends("transformers DeiT"), _hf("DeiTConfig", "DeiTForImageClassification"), _logits),
    Family("hf-dinov2", _ends("transformers DINOv2"), _hf("Dinov2Config", "Dinov2ForImageClassification", mlp_ratio=2), _logits),
    Family("hf-dinov2-swiglu", _ends("transformers DINOv2"),
           _hf("Dinov2Config", "Dinov2ForImageClassification", mlp_ratio=2, use_swiglu_ffn=True), _logits),
    Family("hf-beit", "transformers BEiT",
           _hf("BeitConfig", "BeitForImageClassification", use_relative_position_bias=True, drop_path_rate=0.0), _logits),
    Family("hf-swin", _ends("transformers Swin"), _hf_swin, _logits, depth=4),
    Family("hf-clip", _CLIP, _hf_two("CLIP"), _pair, has_head=False, both_towers=True),
    Family("hf-siglip", _ends("transformers SigLIP"), _hf_two("Siglip"), _pair, has_head=False, both_towers=True),
    Family("timm-vit", _ends("timm VisionTransformer"), _timm("vision_transformer", "VisionTransformer", init_values=0.5, **_VIT), _plain),
    Family("timm-vit-nobias", _ends("timm VisionTransformer"),
           _timm("vision_transformer", "VisionTransformer", qkv_bias=False, **_VIT), _plain),
    Family("timm-swin", _ends("timm Swin"), _timm("swin_transformer", "SwinTransformer", patch_size=4, embed_dim=16, depths=(2, 2),
                                           num_heads=(2, 4), window_size=5, mlp_ratio=2.0, drop_path_rate=0.0), _plain, depth=4),
    Family("timm-beit", "timm BEiT", _timm("beit", "Beit", use_rel_pos_bias=True, init_values=0.5, **_VIT), _plain),
    Family("timm-eva", "timm EVA", _timm("eva", "Eva", use_rot_pos_emb=True, swiglu_mlp=True, scale_mlp=True, **_VIT), _plain),
    Family("timm-eva-split", "timm EVA", _timm("eva", "Eva", use_rot_pos_emb=True, qkv_fused=False, **_VIT), _plain),
    Family("open_clip", "open_clip + open_clip words", _open_clip, _open_clip_pair, has_head=False, both_towers=True),
    Family("clip", _CLIP + " + features of two towers", _two_tower(_hf_two("CLIP")), _features,
           has_head=False, both_towers=True),
    Family("clip-pair", _ends("timm VisionTransformer") + " + transformers BERT + transformers BERT words + features of two towers",
           _two_tower(_timm_and_bert), _features, has_head=False, both_towers=True),
    Family("clip-open", "open_clip + open_clip words + features of two towers", _two_tower(_open_clip), _features,
           has_head=False, both_towers=True),
    Family("vl-bart", "transformers BART encoder + transformers BART decoder + text embeddings", has_head=False, both_towers=True,
           **_vl("bart")),
    Family("vl-t5", "transformers T5 encoder + transformers T5 decoder + text embeddings + outside the blocks", has_head=False,
           both_towers=True, **_vl("t5")),
    Family("smolvlm", "transformers SmolVLM + transformers SmolVLM connector + transformers Llama",
           lambda: tiny_decoder.widened(tiny_decoder.smolvlm()), tiny_decoder.logits, has_head=False, both_towers=True,
           make=tiny_decoder.batch),
]}


@cache
def pristine(name: str) -> nn.Module:
    """One model per family and process: copy it, never change it."""
    return FAMILIES[name].model()
