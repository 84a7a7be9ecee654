"""ARC against two references: numbers computed by the released code, and a naive loop written from the specification."""

import json
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import inarch
from inarch import ARC


def close(found: Tensor, expected: object) -> float:
    return float((found.detach() - torch.as_tensor(np.asarray(expected))).abs().max())


class Golden:
    """One file of inputs, parameters, outputs and gradients of the released code."""

    def __init__(self, path) -> None:
        self.z = np.load(path, allow_pickle=False)
        self.meta = json.loads(str(self.z["meta/json"]))
        self.config = self.meta.get("config", self.meta)

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.z[key])

    def stacked(self, kind: str, pattern: str) -> Tensor:
        """Tensors of all blocks under one pattern, ``{}`` for stage or layer numbers, stacked in order of depth."""
        regex = re.compile(re.escape(f"{kind}/{pattern}").replace(r"\{\}", r"(\d+)") + "$")
        keys = sorted((k for k in self.z.files if regex.match(k)), key=lambda k: [int(n) for n in regex.match(k).groups()])
        return torch.stack([self[k].flatten() for k in keys])


def released_vit(golden: Golden) -> nn.Module:
    """The released ViT's weights in a timm VisionTransformer of the same shape."""
    from timm.models.vision_transformer import VisionTransformer

    c = golden.config
    model = VisionTransformer(img_size=c["img"], patch_size=c["patch"], embed_dim=c["hidden"], depth=c["layers"], num_heads=c["heads"],
                              mlp_ratio=c["mlp"] / c["hidden"], num_classes=c["classes"]).double().eval()
    p = lambda name: golden[f"param/{name}"]  # noqa: E731
    state = {"cls_token": p("embedding.cls"), "pos_embed": p("embedding.position_embedding"),
             "patch_embed.proj.weight": p("embedding.projective.weight"), "patch_embed.proj.bias": p("embedding.projective.bias"),
             "norm.weight": p("transformer.layer_norm.weight"), "norm.bias": p("transformer.layer_norm.bias"),
             "head.weight": p("head_mlp.head.weight"), "head.bias": p("head_mlp.head.bias")}
    pairs = {"attn.proj": "attention.projective", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
             "norm1": "att_layer_norm", "norm2": "fnn_layer_norm"}
    for i in range(c["layers"]):
        for leaf in ("weight", "bias"):
            qkv = [p(f"transformer.layer.{i}.attention.{part}.{leaf}") for part in ("query", "key", "value")]
            state[f"blocks.{i}.attn.qkv.{leaf}"] = torch.cat(qkv)
            state |= {f"blocks.{i}.{ours}.{leaf}": p(f"transformer.layer.{i}.{theirs}.{leaf}") for ours, theirs in pairs.items()}
    model.load_state_dict(state, strict=True)
    return model


def fill(adapter: nn.Module, down: Tensor, scale: Tensor, bias: Tensor) -> None:
    for parameter, value in ((adapter.down, down), (adapter.scale, scale), (adapter.bias, bias)):
        assert parameter.shape == value.shape
        parameter.data.copy_(value)


def compare_gradients(golden: Golden, adapter: nn.Module, names: dict[str, str]) -> None:
    for ours, theirs in names.items():
        expected = golden[f"grad/{theirs}"] if "{}" not in theirs else golden.stacked("grad", theirs)
        assert close(getattr(adapter, ours).grad, expected) < 1e-10, theirs


@pytest.mark.real
@pytest.mark.parametrize("mode", ["ARC", "ARC_att"])
def test_released_vit(shared, mode):
    golden = Golden(shared / "golden" / f"arc_vit_{mode}.npz")
    model = released_vit(golden)
    spans = {"attn": "att", "mlp": "mlp"} if mode == "ARC" else {"attn": "att"}
    inarch.graft(model, ARC(rank=golden.config["r"], spans=tuple(spans)), thaw="head")
    adapters = {theirs: getattr(model.inarch.default, f"vision_{ours}_{golden.config['hidden']}") for ours, theirs in spans.items()}
    for theirs, adapter in adapters.items():
        fill(adapter, golden[f"param/transformer.{theirs}_down_projection"],
             golden.stacked("param", f"transformer.layer.{{}}.{theirs}_adapter.adapter_rescale"),
             golden.stacked("param", f"transformer.layer.{{}}.{theirs}_adapter.adapter_bias"))
    image = golden["in/image"].requires_grad_()
    logits = model(image)
    (logits * golden["in/R"]).sum().backward()
    assert close(logits, golden["out/logits"]) < 1e-10
    assert close(image.grad, golden["grad_in/image"]) < 1e-10
    for theirs, adapter in adapters.items():
        compare_gradients(golden, adapter, {"down": f"transformer.{theirs}_down_projection",
                                            "scale": f"transformer.layer.{{}}.{theirs}_adapter.adapter_rescale",
                                            "bias": f"transformer.layer.{{}}.{theirs}_adapter.adapter_bias"})
    assert close(model.head.weight.grad, golden["grad/head_mlp.head.weight"]) < 1e-10
    assert close(model.head.bias.grad, golden["grad/head_mlp.head.bias"]) < 1e-10
    inarch.merge(model)
    assert close(model(golden["in/image"]), golden["out/logits"]) < 1e-10


@pytest.mark.real
def test_released_swin_trunk(shared):
    """The MLP adapter sits on the residual stream before the second norm: the released file, by its named choice."""
    from timm.models.swin_transformer import SwinTransformer

    golden = Golden(shared / "golden" / "arc_swin_trunk.npz")
    c = golden.config
    shape = {"img_size": c["img"], "patch_size": c["patch"], "embed_dim": c["embed"], "num_heads": c["heads"], "window_size": c["window"]}
    model = SwinTransformer(**shape, depths=c["depths"], mlp_ratio=c["mlp_ratio"], num_classes=c["classes"], drop_path_rate=0.0)
    model.double().eval()
    renamed = {"head.weight": "head.fc.weight", "head.bias": "head.fc.bias"}
    released = {k.removeprefix("param/"): golden[k] for k in golden.z.files if k.startswith("param/")}
    state = {renamed.get(k, k): v for k, v in released.items() if not re.search(r"attn_u|mlp_u|lambda", k)}
    state = {k.replace("layers.0.downsample", "layers.1.downsample"): v for k, v in state.items()}  # timm merges at a stage's start
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith(("relative_position_index", "attn_mask")) for name in missing)
    inarch.graft(model, ARC(rank=c["r"], placement="trunk"), thaw="head")
    adapters = {}
    for stage, width in enumerate((c["embed"], 2 * c["embed"])):
        for ours, theirs in (("attn", "attn"), ("trunk", "mlp")):
            adapter = adapters[stage, theirs] = getattr(model.inarch.default, f"vision_{ours}_{width}")
            fill(adapter, golden[f"param/layers.{stage}.{theirs}_u"],
                 golden.stacked("param", f"layers.{stage}.blocks.{{}}.{theirs}_lambda"),
                 golden.stacked("param", f"layers.{stage}.blocks.{{}}.{theirs}_lambda_bias"))
    image = golden["in/image"].requires_grad_()
    logits = model(image)
    (logits * golden["in/R"]).sum().backward()
    assert close(logits, golden["out/logits"]) < 1e-10
    assert close(image.grad, golden["grad_in/image"]) < 1e-10
    for (stage, theirs), adapter in adapters.items():
        compare_gradients(golden, adapter, {"down": f"layers.{stage}.{theirs}_u", "scale": f"layers.{stage}.blocks.{{}}.{theirs}_lambda",
                                            "bias": f"layers.{stage}.blocks.{{}}.{theirs}_lambda_bias"})
    assert close(model.head.fc.weight.grad, golden["grad/head.weight"]) < 1e-10
    with pytest.raises(inarch.CannotFold, match=r"layers\.0\.blocks\.0 \(trunk\): the adapted residual stream is also"):
        inarch.merge(model)


def naive_vit(model: nn.Module, x: Tensor, w: dict[str, Tensor], c: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    """The operator and its placement as a loop over images, blocks and heads of a timm ViT's own tensors."""
    heads, rows = model.blocks[0].attn.num_heads, []
    for image in x:
        tokens = model.pos_drop(model._pos_embed(model.patch_embed(image[None])))[0]
        for i, block in enumerate(model.blocks):
            u = block.norm1(tokens)
            h = arc(u, w["attn"], c["attn"][i], b["attn"][i])
            q, k, v = (h @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=-1)
            out = []
            for a, bb, d in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
                out.append(torch.softmax(a @ bb.T / a.shape[-1] ** 0.5, dim=-1) @ d)
            tokens = tokens + torch.cat(out, -1) @ block.attn.proj.weight.T + block.attn.proj.bias
            u = block.norm2(tokens)
            h = arc(u, w["mlp"], c["mlp"][i], b["mlp"][i])
            h = F.gelu(h @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
            tokens = tokens + h @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
        rows.append(model.norm(tokens)[0] @ model.head.weight.T + model.head.bias)
    return torch.stack(rows)


def arc(u: Tensor, w: Tensor, c: Tensor, b: Tensor) -> Tensor:
    """H = U + (U (W diag c)) W^T + b, token by token."""
    return torch.stack([row + (row @ (w * c)) @ w.T + b for row in u])


def twelve_blocks(dtype: torch.dtype) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(5)
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=12, num_heads=4, num_classes=7).to(dtype).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def random_arc(model: nn.Module) -> None:
    inarch.graft(model, ARC(rank=5))
    for parameter in model.inarch.parameters():
        parameter.data.copy_(0.2 * torch.randn_like(parameter))


def test_naive_loop_outputs_and_gradients():
    model = twelve_blocks(torch.float64)
    random_arc(model)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    weights = torch.randn(2, 7, dtype=torch.float64)
    adapters = {span: getattr(model.inarch.default, f"vision_{span}_48") for span in ("attn", "mlp")}
    names = ("down", "scale", "bias")
    leaf = {(span, name): getattr(a, name).detach().clone().requires_grad_() for span, a in adapters.items() for name in names}
    w, c, b = ({span: leaf[span, name] for span in adapters} for name in names)
    ours, naive = model(x), naive_vit(model, x, w, c, b)
    assert close(ours, naive.detach()) < 1e-12
    (ours * weights).sum().backward()
    (naive * weights).sum().backward()
    for (span, name), expected in leaf.items():
        assert close(getattr(adapters[span], name).grad, expected.grad) < 1e-10


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_folding_twelve_blocks(dtype, bound):
    model = twelve_blocks(dtype)
    random_arc(model)
    x = torch.randn(3, 3, 32, 32, dtype=dtype)
    graft = model(x).detach()
    inarch.merge(model)
    assert close(model(x), graft) < bound * max(1.0, float(graft.abs().max()))


def test_bottleneck_dropout_acts_on_the_rescaled_bottleneck():
    """Z = dropout(U W c): the same mask on the same place gives the same numbers, scaled by 1 / (1 - p)."""
    model = twelve_blocks(torch.float64)
    inarch.graft(model, ARC(rank=5, dropout=0.3, spans=("attn",)))
    adapter = model.inarch.default.vision_attn_48.train()
    adapter.scale.data.normal_()
    u = torch.randn(4, 48, dtype=torch.float64)
    torch.manual_seed(9)
    found = adapter.before(u, 2, None)
    torch.manual_seed(9)
    z = F.dropout((u @ adapter.down) * adapter.scale[2], 0.3, True)
    assert close(found, (u + z @ adapter.down.T + adapter.bias[2]).detach()) < 1e-14
    assert not torch.equal(found, adapter.eval().before(u, 2, None))


def test_published_initialisation():
    torch.manual_seed(0)
    model = twelve_blocks(torch.float32)
    inarch.graft(model, ARC(rank=5))
    attn, mlp = model.inarch.default.vision_attn_48, model.inarch.default.vision_mlp_48
    assert not attn.scale.any() and not attn.bias.any() and not mlp.bias.any()
    assert 0.8 * (6 / 6) ** 0.5 < mlp.scale.abs().max() <= (6 / 6) ** 0.5  # fan_in r = 5, fan_out 1
    assert 0.95 * (6 / 53) ** 0.5 < attn.down.abs().max() <= (6 / 53) ** 0.5
    assert not torch.equal(attn.down, mlp.down)


def test_no_gradient_reaches_the_adapter_at_a_zero_head_then_all_but_w_att():
    """arc.md 1.6: at step 0 a zero head stops every gradient; after one head step c_att, c_mlp, b and W_mlp get one, W_att not yet."""
    model = twelve_blocks(torch.float64)
    model.head.weight.data.zero_()
    inarch.graft(model, ARC(rank=5), thaw="head")
    x, y = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(model(x), y).backward()
    assert all(not p.grad.any() for p in model.inarch.parameters())
    optimizer.step()
    optimizer.zero_grad()
    F.cross_entropy(model(x), y).backward()
    silent = {name for name, p in model.inarch.named_parameters() if not p.grad.any()}
    assert silent == {"default.vision_attn_48.down"}


def test_shared_projection_collects_the_gradients_of_all_blocks():
    """The gradient of W equals the sum over an untied copy's, one W per block."""
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    tied, untied = twelve_blocks(torch.float64), twelve_blocks(torch.float64)
    torch.manual_seed(2)
    random_arc(tied)
    inarch.graft(untied, ARC(rank=5, share="none"))
    for span in ("attn", "mlp"):
        a, b = (getattr(m.inarch.default, f"vision_{span}_48") for m in (tied, untied))
        b.bases.down.data.copy_(a.down.data.expand_as(b.bases.down))
        b.scale.data.copy_(a.scale.data)
        b.bias.data.copy_(a.bias.data)
    for model in (tied, untied):
        model(x).square().sum().backward()
    for span in ("attn", "mlp"):
        a, b = (getattr(m.inarch.default, f"vision_{span}_48") for m in (tied, untied))
        assert close(a.down.grad, b.bases.down.grad.sum(0)) < 1e-12
