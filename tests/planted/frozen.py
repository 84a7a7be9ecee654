"""Rows of what is frozen, and a base in half precision: what could be read that is not of this net, or narrowed that trains."""

from planted import Fault

CACHE = "tests/test_cache_folder.py"
FAULTS = [
    Fault("a quantised weight goes backward as it went forward", "inarch/eight_bits.py",
          "grad @ weight.dequantize().to(grad.dtype)", "grad @ weight.dequantize().to(grad.dtype).flip(0)",
          "tests/test_quantised_base.py -k checked"),
    Fault("a quantised weight is thawed", "inarch/grafting.py", "        if kind := packed(parameter):", "        if kind := False:",
          "tests/test_packed.py -k thawed"),
    Fault("rows of one frozen net serve another", "inarch/training/shelf.py", '"fingerprint": self.fingerprint',
          '"fingerprint": ""', f"{CACHE} -k another_backbone"),
    Fault("stored rows are not compared with the net", "inarch/training/shelf.py",
          "            _refuse_others(found, cut.below(feed.first(self.batch).to(engine.device)), place)", "            pass",
          f"{CACHE} -k under_this_key"),
    Fault("the views of an image share a store", "inarch/training/shelf.py", '"view": feed.view', '"view": ""', f"{CACHE} -k last_bit"),
    Fault("every epoch sees an image in the same view", "inarch/training/feed.py",
          "self.views[self.transform.drawn((self.seed, epoch, int(i)))]", "self.views[0]", f"{CACHE} -k last_bit"),
    Fault("frozen blocks that drop something are kept", "inarch/training/frozen.py", "    if noise:", "    if False:",
          "tests/test_behind.py -k not_be_exact"),
    Fault("logits need not follow from what is kept", "inarch/training/behind.py",
          "    if not torch.allclose(behind(kept), said, rtol=CLOSE, atol=CLOSE * float(said.abs().max())):", "    if False:",
          "tests/test_behind.py -k otherwise"),
    Fault("rows too large for half are kept", "inarch/training/shelf.py",
          "        if not torch.isfinite(piece).all():", "        if False:",
          f"{CACHE} -k too_large"),
    Fault("what trains is narrowed with the base", "inarch/width.py", "own = parameter.requires_grad or ", "own = ",
          "tests/test_half_base.py -k learns"),
    Fault("a rebuilt net has another base than the trained one", "inarch/evaluate.py", "    narrowed(model, recipe)\n", "",
          "tests/test_half_base.py -k learns"),
]
