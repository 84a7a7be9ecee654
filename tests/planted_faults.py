"""Break the library in some forty ways and see the tests notice each: a law that cannot fail is no law.

    python tests/planted_faults.py            each fault in a copy of the checkout; exit 1 if one goes unnoticed
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Fault:
    """Replace ``old`` by ``new`` in ``file``; ``tests`` (pytest words) must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


LAWS = "tests/test_laws.py -k hf-vit"
TIERS = "not real and not compile and not dist and not gpu and not hub"  # the default one and what is long
VLPET = "inarch/methods/vlpet.py"
FAULTS = [
    Fault("the base is not frozen", "inarch/grafting.py", "        parameter.requires_grad_(False)\n    model.add_module",
          "        pass\n    model.add_module", LAWS),
    Fault("a transposed merge", "inarch/merging.py", "return (matrix @ up.mT) @ down.mT,", "return (matrix @ down) @ up,", LAWS),
    Fault("the fold forgets the bias", "inarch/merging.py", "None if shift is None else matrix @ shift", "None", LAWS),
    Fault("a gate reads the normed input instead of the residual", "inarch/wiring.py", 'Hook(joint, "start", span.residual)',
          'Hook(joint, "start", span.enter)', "tests/test_graft.py -k declares"),
    Fault("two adapters run in sequence instead of adding up", "inarch/joint.py", "return x + sum(e - x for e in edited)",
          "return edited[-1]", "tests/test_graft.py -k add_up"),
    Fault("unmerge subtracts nothing back", "inarch/merging.py",
          "        _tensor(model, path).data.copy_(original)  # type: ignore[union-attr]", "        pass", LAWS),
    Fault("a copy keeps the original's adapter", "inarch/joint.py", "class Joint:\n",
          "class Joint:\n    def __deepcopy__(self, memo):\n        return self\n\n", LAWS),
    Fault("ARC scales before the wrong projection", "inarch/methods/arc.py", "z = F.dropout(x @ self.rescale(down, i)",
          "z = F.dropout(x @ self.rescale(down, 0)", "tests/test_golden_arc.py"),
    Fault("the inner residual is left out", "inarch/methods/arc.py", "h = x + z @ up", "h = z @ up", "tests/test_golden_arc.py"),
    Fault("the MLP scale starts at zero", "inarch/methods/arc.py", 'config.init == "published" and stack.span != "attn"',
          "False", "tests/test_golden_arc.py tests/test_laws.py -k 'initialisation or hf-vit'"),
    Fault("a damaged file is loaded", "inarch/checkpoint.py",
          'if len(data) != card["bytes"] or files.sha256(data) != card["sha256"]:', "if False:",
          "tests/test_checkpoint.py -k flipped"),
    Fault("another backbone passes", "inarch/fingerprint.py", 'return None if stored[width] == found[width] else',
          "return None if True else", "tests/test_checkpoint.py -k another_backbone"),
    Fault("dropout folds in silence", "inarch/merging.py", "if link.adapter.stochastic and link.adapter.training:", "if False:",
          "tests/test_merge.py -k dropout"),
    Fault("use leaves the thawed values behind", "inarch/switching.py", "parameters[name].data.copy_(scion.kept[name])", "pass",
          "tests/test_graft.py -k keeps_its_own"),
    Fault("LoRA forgets alpha", "inarch/methods/lora.py", "F.linear(z, self.up[i]) * self.gain", "F.linear(z, self.up[i])",
          "tests/test_peft_oracle.py"),
    Fault("a gate reads H instead of H + dH", VLPET, 'read = changed if self.gate_reads == "changed" else y', "read = y",
          "tests/test_vlpet_naive.py -k 'test_encoder and middleX'"),
    Fault("a gate multiplies the update alone", VLPET, "return self.scale * self.gate(x, read, i, given) * changed",
          "return y + self.scale * self.gate(x, read, i, given) * (changed - y)", "tests/test_vlpet_naive.py -k test_encoder"),
    Fault("erf instead of the tanh form of GELU", "inarch/methods/bottleneck.py", 'self.down_bias[i]), approximate="tanh")',
          "self.down_bias[i]))", "tests/test_vlpet_naive.py -k test_encoder"),
    Fault("T5's gate reads the normed input", VLPET, 'self.reads = "residual" if stream else "normed"', 'self.reads = "normed"',
          "tests/test_vlpet_naive.py -k 'test_encoder and t5'"),
    Fault("the decoder's adapter sits on the keys", VLPET, '"value": "cross.v"', '"value": "cross.k"',
          "tests/test_vlpet.py -k own_projection"),
    Fault("the encoder's norms stay frozen", VLPET, 'return ("encoders.norms",) if self.encoder_norms else ()', "return ()",
          "tests/test_vlpet.py -k what_trains"),
    Fault("the scale s is forgotten", VLPET, "return self.scale * self.gate(", "return self.gate(", "tests/test_vlpet.py -k first_step"),
    Fault("the masked mean counts padding", "inarch/methods/gates.py", 'if self.mean == "all" or visible is None:', "if True:",
          "tests/test_vlpet.py -k padding"),
    Fault("visual tokens go through BART's embedding norm", "inarch/backbones/seats.py", "torch.cat([output, self.guests], dim=1)",
          "torch.cat([output, module.forward(self.guests)], dim=1)", "tests/test_vision_language.py -k embeddings_norm"),
    Fault("T5 gives visual tokens a position bias", "inarch/backbones/seats.py",
          "F.pad(attention.compute_bias(text, text, device=hidden.device), (0, visual, 0, visual))",
          "attention.compute_bias(text + visual, text + visual, device=hidden.device)", "tests/test_vision_language.py -k position_bias"),
    Fault("the residual is read outside of what is recomputed", "inarch/rows.py",
          'Port("self_attn", "out"), (*m["q"], *m["k"], *m["v"]), m["o"], residual=start)',
          'Port("self_attn", "out"), (*m["q"], *m["k"], *m["v"]), m["o"], residual=Port("", "in"))',
          "tests/test_vision_language.py tests/test_recompute.py -k 'checkpointing or bart'"),
    Fault("a tokenizer is made up", "inarch/backbones/reading.py", "if not any((folder / name).is_file() for name in VOCABULARY):",
          "if False:", "tests/test_vision_language_loading.py -k without_a_tokenizer"),
    Fault("the towers of a CLIP do not share their slices", "inarch/methods/ring_plan.py", "return EVERYBODY if equal else None",
          "return None", "tests/test_adaring_sharing.py -k who_shares"),
    Fault("gates do not sum to one", "inarch/methods/ring_adapters.py", "return torch.softmax(logits if kept is None else",
          "return (lambda z, dim: z.exp())(logits if kept is None else", "tests/test_adaring_sharing.py -k sum_to_one"),
    Fault("all experts of a layer may be dropped", "inarch/methods/ring_adapters.py",
          "(drawn >= chance) | (drawn == drawn.max(dim=1, keepdim=True).values)", "drawn >= chance",
          "tests/test_adaring_sharing.py -k never_all"),
    Fault("the slices of up are drawn", "inarch/methods/ring_bank.py", "else torch.zeros(left, places, right)",
          "else torch.randn(left, places, right)", "tests/test_adaring.py -k fresh_graft"),
    Fault("every layer takes the first slice", "inarch/methods/tensor_ring.py", 'return torch.einsum("blc,cka->lbak", slices, hidden)',
          'return torch.einsum("blc,cka->lbak", slices[:, :1].expand_as(slices), hidden)', "tests/test_adaring_sharing.py -k one_block"),
    Fault("strength is ignored", "inarch/methods/ring_adapters.py", "return self.config.scale * self.strength", "return self.config.scale",
          "tests/test_adaring_parts.py -k strength_zero"),
    Fault("the input gets the adapter's large gradient", "inarch/methods/mma.py",
          "return grad if ctx.gradient == 1.0 else grad * ctx.gradient, None, None", "return grad, None, None",
          "tests/test_adaring.py -k input_its_true_gradient"),
    Fault("the probe shows pseudo-novel images to the cores", "inarch/tasks/probing.py", "torch.nonzero(torch.isin(labels, half))",
          "torch.nonzero(labels >= 0)", "tests/test_probing.py -k each_half"),
    Fault("the probe compares pseudo-base images with every name", "inarch/tasks/probing.py", "said = self._said(shown, halves.base)",
          "said = self._said(shown, torch.cat([halves.base, halves.novel]).sort().values)",
          "tests/test_probing.py -k pseudo_novel_names"),
    Fault("the probe leaves the cores where they went", "inarch/tasks/probing.py", "parameter.copy_(before[name])", "pass",
          "tests/test_probing.py -k in_turn"),
    Fault("gates found by the probe go on learning", "inarch/switching.py",
          "requires_grad_(name not in scion.held)\n    scion.active = True", "requires_grad_(True)\n    scion.active = True",
          "tests/test_probing.py -k held"),
    Fault("held-back classes are read early", "inarch/data/fewshot/read.py", "self._learn = self._half(self._plan)",
          "self._learn, _ = self._half(self._plan), self.held()", "tests/test_fewshot_data_leakage.py -k no_novel_image"),
    Fault("a prefix is played into the wrong block", "inarch/prefix.py", "self._single(keeps[-1].seen)", "self._single(keeps[0].seen)",
          "tests/test_prefix.py -k features_and_gradients"),
    Fault("a dead port goes unnoticed", "inarch/wiring.py", "    if dead:\n", "    if False:\n", "tests/test_anatomy.py -k dead_port"),
]


def notices(fault: Fault) -> bool:
    """Whether the tests named by the fault fail in a copy that has it; the fault's text must still be there to break."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "inarch"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "results", "__pycache__", "*.egg-info"))
        broken = copy / fault.file
        text = broken.read_text()
        if text.count(fault.old) != 1:
            raise SystemExit(f"{fault.name}: {fault.file} holds the text to break {text.count(fault.old)} times; renew the fault")
        broken.write_text(text.replace(fault.old, fault.new))
        words = fault.tests.split(" -k ")
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-m", TIERS, *words[0].split()]
        done = subprocess.run(command + (["-k", words[1].strip("'")] if words[1:] else []), cwd=copy, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{fault.name}: pytest did not run ({done.returncode})\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    return done.returncode == 1


def main() -> int:
    with ThreadPoolExecutor(2) as pool:
        noticed = list(pool.map(notices, FAULTS))
    for fault, seen in zip(FAULTS, noticed, strict=True):
        print(f"{'caught' if seen else 'MISSED'}  {fault.name}")
    print(f"{sum(noticed)} passed, {len(noticed) - sum(noticed)} failed")
    return 0 if all(noticed) else 1


if __name__ == "__main__":
    sys.exit(main())
