"""Tiny random models of every backbone row, in fp64 and evaluation mode, each with a forward on fixed inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tiny_decoder
import tiny_vl
import torch
from torch import Tensor, nn
from wide_norms import widened

from inarch.testing import stocks
from inarch.testing.stocks import CLASSES, SIZE, TEXT, VIT, Stock, classifier, logits, pair, pictures, swin, two_towers


@dataclass(frozen=True)
class Family(Stock):
    """A stock that the tests know more of; ``rows``: of which its blocks are, joined by `` + ``."""

    rows: str = ""
    has_head: bool = True  # a task head to thaw
    depth: int = 3
    both_towers: bool = False


def _family(name: str, rows: str, build: Callable[[], nn.Module], forward: Callable[..., Tensor], **more: Any) -> Family:
    return Family(name, build, forward, rows=rows, **more)


def _timm(module: str, name: str, **kwargs: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import importlib

        return getattr(importlib.import_module(f"timm.models.{module}"), name)(num_classes=CLASSES, img_size=SIZE, **kwargs)
    return build


def _open_clip() -> nn.Module:
    import open_clip

    vision = {"layers": 3, "width": 32, "head_width": 8, "patch_size": 8, "image_size": SIZE}
    return open_clip.CLIP(16, vision, {"width": 32, "layers": 3, "heads": 4, "context_length": 8, "vocab_size": 99})


def _plain(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    return model(x["pixels"])


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
    return {"build": lambda: widened(tiny_vl.wrapped(tiny_vl.STOCK[kind]())), "forward": lambda model, x: model(**x),
            "make": lambda batch: vars(tiny_vl.batch(kind, batch))}


def _ends(row: str) -> str:
    """The row of a family's blocks and that of what stands around them."""
    return f"{row} + {row} ends"


_CLIP = _ends("transformers CLIP") + " + transformers CLIP words"
_VIT = {"embed_dim": 32, "depth": 3, "num_heads": 4, "patch_size": 8}
FAMILIES = {family.name: family for family in [
    _family("hf-vit", _ends("transformers ViT"), classifier("ViTConfig", "ViTForImageClassification"), logits),
    _family("hf-deit", _ends("transformers DeiT"), classifier("DeiTConfig", "DeiTForImageClassification"), logits),
    _family("hf-dinov2", _ends("transformers DINOv2"), classifier("Dinov2Config", "Dinov2ForImageClassification", mlp_ratio=2), logits),
    _family("hf-dinov2-swiglu", _ends("transformers DINOv2"),
            classifier("Dinov2Config", "Dinov2ForImageClassification", mlp_ratio=2, use_swiglu_ffn=True), logits),
    _family("hf-beit", "transformers BEiT",
            classifier("BeitConfig", "BeitForImageClassification", use_relative_position_bias=True, drop_path_rate=0.0), logits),
    _family("hf-swin", _ends("transformers Swin"), swin, logits, depth=4),
    _family("hf-clip", _CLIP, two_towers("CLIP"), pair, has_head=False, both_towers=True),
    _family("hf-siglip", _ends("transformers SigLIP"), two_towers("Siglip"), pair, has_head=False, both_towers=True),
    _family("timm-vit", _ends("timm VisionTransformer"), _timm("vision_transformer", "VisionTransformer", init_values=0.5, **_VIT), _plain),
    _family("timm-vit-nobias", _ends("timm VisionTransformer"),
            _timm("vision_transformer", "VisionTransformer", qkv_bias=False, **_VIT), _plain),
    _family("timm-swin", _ends("timm Swin"), _timm("swin_transformer", "SwinTransformer", patch_size=4, embed_dim=16, depths=(2, 2),
                                             num_heads=(2, 4), window_size=5, mlp_ratio=2.0, drop_path_rate=0.0), _plain, depth=4),
    _family("timm-beit", "timm BEiT", _timm("beit", "Beit", use_rel_pos_bias=True, init_values=0.5, **_VIT), _plain),
    _family("timm-eva", "timm EVA", _timm("eva", "Eva", use_rot_pos_emb=True, swiglu_mlp=True, scale_mlp=True, **_VIT), _plain),
    _family("timm-eva-split", "timm EVA", _timm("eva", "Eva", use_rot_pos_emb=True, qkv_fused=False, **_VIT), _plain),
    _family("open_clip", "open_clip + open_clip words", _open_clip, _open_clip_pair, has_head=False, both_towers=True),
    _family("clip", _CLIP + " + features of two towers", _two_tower(two_towers("CLIP")), _features,
            has_head=False, both_towers=True),
    _family("clip-pair", _ends("timm VisionTransformer") + " + transformers BERT + transformers BERT words + features of two towers",
            _two_tower(_timm_and_bert), _features, has_head=False, both_towers=True),
    _family("clip-open", "open_clip + open_clip words + features of two towers", _two_tower(_open_clip), _features,
            has_head=False, both_towers=True),
    _family("vl-bart", "transformers BART encoder + transformers BART decoder + text embeddings", has_head=False, both_towers=True,
            **_vl("bart")),
    _family("vl-t5", "transformers T5 encoder + transformers T5 decoder + text embeddings + outside the blocks", has_head=False,
            both_towers=True, **_vl("t5")),
    _family("smolvlm", "transformers SmolVLM + transformers SmolVLM connector + transformers Llama",
            lambda: widened(tiny_decoder.smolvlm()), tiny_decoder.logits, has_head=False, both_towers=True,
            make=tiny_decoder.batch),
]}


def pristine(name: str) -> nn.Module:
    """One model per family and process: copy it, never change it."""
    return stocks.pristine(FAMILIES[name])


__all__ = ["CLASSES", "FAMILIES", "SIZE", "TEXT", "VIT", "Family", "pictures", "pristine"]
