"""Two gloo processes, each with half of a batch: the shared tensors of the container get the gradient of the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest

RANK = """
import os, sys
sys.path[:0] = [{tests!r}, {root!r}]
import copy, torch, torch.distributed as dist
from inarch.backbones.torchvision import mend_torchvision
mend_torchvision()
from families import FAMILIES, pristine
import inarch

dist.init_process_group("gloo")
torch.set_num_threads(1)
rank, family = dist.get_rank(), FAMILIES[{family!r}]

def grafted(how):
    model = copy.deepcopy(pristine({family!r}))
    torch.manual_seed(1)
    if how == "peft":
        from peft import get_peft_model
        from inarch.peft import ARCConfig
        return get_peft_model(model, ARCConfig(r=4, init="xavier", modules_to_save=["head"]))
    if {family!r} == "timm-vit":
        return inarch.graft(model, inarch.ARC(rank=4, init="xavier"), thaw="head")
    method = inarch.VLPET(gate="small", small_mean="visible", rank=4, value_rank=2, init="normal")
    return inarch.graft(model, method)

def spread(model, engine):
    if engine == "ddp":
        return torch.nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    mesh = init_device_mesh("cpu", (2,))
    for block in next(module for module in model.modules() if hasattr(module, "blocks")).blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)

inputs = family.inputs(4)
mine = {{name: value[2 * rank : 2 * rank + 2] for name, value in inputs.items()}}
for engine, how in {ways!r}:
    alone, model = grafted(how), grafted(how)
    family.forward(alone, inputs).square().mean().backward()
    expected = {{n: p.grad for n, p in alone.named_parameters() if p.requires_grad}}
    net = spread(model, engine)
    family.forward(net, mine).square().mean().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            grad = parameter.grad.full_tensor() if engine == "fsdp2" else parameter.grad
            assert (grad - expected[name]).abs().max() < 1e-12, (engine, how, name)
    assert len(expected) == {tensors}
    dist.barrier()
    print("equal", flush=True)
os._exit(0)  # gloo's threads may abort a normal exit, after everything has been said
"""
WAYS = [("ddp", "graft"), ("fsdp2", "graft"), ("ddp", "peft"), ("fsdp2", "peft")]


@pytest.mark.dist
@pytest.mark.parametrize(("family", "tensors", "ways"), [("timm-vit", 8, WAYS), ("vl-bart", 39, WAYS[:1]), ("vl-t5", 30, WAYS[:1])])
def test_gradients_equal_those_of_one_process(family, tensors, ways, tmp_path):
    here = Path(__file__).parent
    script = tmp_path / "rank.py"
    script.write_text(RANK.format(tests=str(here), root=str(here.parent), family=family, tensors=tensors, ways=ways))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("equal") == 2 * len(ways)
