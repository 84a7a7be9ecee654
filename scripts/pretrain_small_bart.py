"""A small BART for experiments where no published weights can be had: pre-trained here on the training text of three question sets.

    python scripts/pretrain_small_bart.py --data ../shared/data --out runs/small-bart          about 5 minutes on one core

No picture is seen, no test question is read, and no question meets its own answer. Two objectives, half of the steps each:
    infilling   a line (question, answer or sentence) with spans of words, Poisson(3) long, 30 % in all, one <mask> each  ->  the line
    form        "vqa: " + question  ->  the answer to a random training question of the same kind
so that the decoder knows how an answer to this kind of question is worded, and nothing about which one is right.
The folder loads as ``vl:runs/small-bart``; ``pretraining.json`` beside the weights says how it was made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inarch import provenance
from inarch.backbones.torchvision import mend_torchvision

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
PROMPT = "vqa: "
SETS = ("vqa_rad", "easy_vqa", "nlvr_vqa")
MASKED, SPAN = 0.3, 3


def training_text(data: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Lines for infilling, and ``(question, answer, kind)``, of the training parts alone."""
    rad, easy, nlvr = (np.load(data / f"{name}.npz", allow_pickle=False) for name in SETS)
    pairs = []
    keep = np.flatnonzero(rad["split"] == 0)
    for i in keep:
        kind = f"rad {rad['answer_type'][i]} {str(rad['question_type'][i]).split(',')[0].strip()}"
        pairs.append((str(rad["question"][i]).lower(), str(rad["answer"][i]), kind))
    chosen = np.random.default_rng(0).choice(np.flatnonzero(easy["split"] == 0), 4000, replace=False)
    for i in chosen:
        question = str(easy["questions"][easy["question_id"][i]])
        pairs.append((question, str(easy["answers"][easy["answer_id"][i]]), f"easy {question}"))
    sentences = [str(s).lower() for s in nlvr["sentence"][nlvr["split"] == 0]]
    lines = sorted({q for q, _, _ in pairs} | {a for _, a, _ in pairs}) + sorted(set(sentences))
    return lines, pairs


def new_tokenizer(lines: list[str]) -> Any:
    """Words as they stand, punctuation at their ends apart; lower case."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    counts = Counter(word for line in [*lines, PROMPT] for word in re.findall(r"\S+?(?=[?.,!:;]*(?:\s|$))|[?.,!:;]", line.lower()))
    vocabulary = {word: k for k, word in enumerate([*SPECIAL, *sorted(counts)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    ends = pre_tokenizers.Split(Regex(r"[?.,!:;](?=[?.,!:;]*(\s|$))"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), ends])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
                                   mask_token="<mask>", clean_up_tokenization_spaces=False)


def new_model(vocabulary: int, dim: int, depth: int, seed: int) -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(seed)
    heads = {f"{side}_{what}": value for side in ("encoder", "decoder")
             for what, value in (("layers", depth), ("attention_heads", dim // 32), ("ffn_dim", 4 * dim))}
    return BartForConditionalGeneration(BartConfig(vocab_size=vocabulary, d_model=dim, max_position_embeddings=256, dropout=0.0,
                                                   attention_dropout=0.0, activation_dropout=0.0, **heads))


def holes(ids: list[int], mask: int, rng: np.random.Generator) -> list[int]:
    """A line without its first and last token, spans of it behind one mask each."""
    inner, out, k = ids[1:-1], [], 0
    start = MASKED / SPAN
    while k < len(inner):
        if rng.random() < start:
            out.append(mask)
            k += max(1, int(rng.poisson(SPAN)))
        else:
            out.append(inner[k])
            k += 1
    return [ids[0], *out, ids[-1]]


class Batches:
    """Draws of one batch: inputs, their mask and labels, padded."""

    def __init__(self, tokenizer: Any, lines: list[str], pairs: list[tuple[str, str, str]], size: int, seed: int) -> None:
        self.tokenizer, self.size, self.rng = tokenizer, size, np.random.default_rng(seed)
        self.lines = tokenizer([*lines]).input_ids
        self.questions = tokenizer([PROMPT + q for q, _, _ in pairs]).input_ids
        self.kinds = [kind for _, _, kind in pairs]
        self.answers: dict[str, list[list[int]]] = defaultdict(list)
        for (_, _, kind), ids in zip(pairs, tokenizer([a for _, a, _ in pairs]).input_ids, strict=True):
            self.answers[kind].append(ids)

    def draw(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = self.rng
        if step % 2:
            rows = [self.lines[k] for k in rng.integers(len(self.lines), size=self.size)]
            return self._padded([holes(ids, self.tokenizer.mask_token_id, rng) for ids in rows], rows)
        picks = rng.integers(len(self.questions), size=self.size)
        drawn = [self.answers[self.kinds[k]] for k in picks]
        return self._padded([self.questions[k] for k in picks], [some[rng.integers(len(some))] for some in drawn])

    def _padded(self, inputs: list[list[int]], targets: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pad = self.tokenizer.pad_token_id
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(i) for i in inputs], True, pad)
        labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for t in targets], True, -100)
        return ids, (ids != pad).long(), labels


def train(model: Any, batches: Batches, steps: int, lr: float) -> dict[str, float]:
    """AdamW, linear warm-up over a tenth of the steps, linear decay; returns the mean loss of the last 200 steps of each objective."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / (steps / 10), (steps - s) / (steps * 0.9)))
    losses: dict[int, list[float]] = {0: [], 1: []}
    model.train()
    for step in range(steps):
        ids, mask, labels = batches.draw(step)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rate.step()
        losses[step % 2].append(float(loss.detach()))
        if step % 200 == 199:
            print(f"step {step + 1}/{steps}  infilling {np.mean(losses[1][-100:]):.3f}  form {np.mean(losses[0][-100:]):.3f}", flush=True)
    return {"infilling": float(np.mean(losses[1][-100:])), "form": float(np.mean(losses[0][-100:]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/small-bart"))
    for name, value in (("dim", 128), ("depth", 2), ("steps", 4000), ("batch", 64), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    mend_torchvision()
    torch.set_num_threads(1)
    lines, pairs = training_text(args.data)
    tokenizer = new_tokenizer(lines)
    model = new_model(len(tokenizer), args.dim, args.depth, args.seed)
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(lines)} lines, {len(pairs)} questions, {len(tokenizer)} words, {size:,} numbers", flush=True)
    found = train(model, Batches(tokenizer, lines, pairs, args.batch, args.seed), args.steps, args.lr)
    model.eval().save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    record = {"command": provenance.command(), "objective": "infilling and answer form, text of the training parts only", "sets": SETS,
              "lines": len(lines), "questions": len(pairs), "words": len(tokenizer), "numbers": size, "loss": found,
              "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in ("data", "out")},
              "data_sha256": {name: hashlib.sha256((args.data / f"{name}.npz").read_bytes()).hexdigest() for name in SETS},
              "weights_sha256": hashlib.sha256((args.out / "model.safetensors").read_bytes()).hexdigest(),
              "versions": provenance.versions(), "commit": provenance.commit(), "finished": provenance.now()}
    (args.out / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
