"""WEIGHTS.md, written from the record of the run so that no number in it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mini_vit.sources import SOURCES

OTHERS = "## mini-vl and mini-eyes\n"  # written by scripts/mini_vl/card.py
CARD = """# Weights that come with inarch

Generated from `results/mini-vit/pretrain.json` by `python scripts/pretrain_mini_vit.py --write-card`.
To change this page, change the script.

## mini-vit

`inarch/backbones/weights/mini-vit`: a small vision transformer for demonstrations and tests without a network. It is a real
pre-trained model of modest quality: use it to try the library, not to publish results.

| | |
|---|---|
| architecture | `transformers` ViT: 64 x 64 px, patch 8, width 128, 6 layers, 4 heads, MLP 512, LayerNorm eps 1e-6 |
| size | {parameters:,} parameters, {bytes:,} bytes (fp16 safetensors, no head) |
| sha256 of `model.safetensors` | `{weights_sha256}` |
| input | RGB, both sides resized to 64 (bicubic), mean = std = 0.5 (`preprocess.json`) |
| loads with | `ViTForImageClassification.from_pretrained(folder, num_labels=10)`; in memory it is fp32 (`config.json`) |

**How it was made.** It starts from a real ViT-Ti/16, squeezed from 12 layers of width 192 into 6 of width 128: principal
directions of the residual stream, two layers side by side, writers refitted by ridge regression
(`scripts/mini_vit/inherit.py`). All its weights were then trained on the training parts of eight image sets: cross-entropy
over each set's own classes, plus distillation of the teacher's class token and of its patch tokens averaged to a 4 x 4 grid.
{epochs} epochs, seed {seed}, {wall_seconds} s on a {hardware} ({teacher_features}).

Nothing was chosen on validation data: one run, last epoch. Test parts were never trained on or measured; they were only
hashed, with the validation parts, so that training images with the same pixels could be left out (the two NLVR sets share
boxes; the counts below are after that). Of the emoji only the *base* half was used: the *novel* half stays unseen.

**Make it again** (`--data`: the folder with the files below; other bytes are refused):

```
{command}
```

python {python}, torch {torch}, transformers {transformers}, timm {timm}. The seed fixes every draw; another library version,
CPU type or thread count changes the rounding, and with it the weights a little.

## Validation, percent

"head": the multi-task head of the training. "probe": logistic regression on the frozen class token (standardised, C = 0.1),
fitted on the training part and scored on the validation part, for mini-vit and for the same shape with random weights. A
validation part has 135 to 336 images: one standard error is up to 4 points.

| set | images trained on | head | probe | probe, random weights |
|---|---|---|---|---|
{rows}

Never seen in training, neither its images nor its classes, and used for no choice: scikit-learn's handwritten digits (1000
train, 797 test images), probed the same way: {digits_mini}, with random weights {digits_random}.

**Seen sets.** mini-vit saw the training images *and labels* of
{seen}.
A result of mini-vit on one of these says how well it remembers, not how well it adapts; tables mark it as *seen*.
nlvr_vqa counts as seen too: its pictures are made of boxes of the same NLVR scenes, and its splits do not line up with theirs.

## Sources, licences, attribution

| set | licence | source |
|---|---|---|
{sources}

| file | sha256 |
|---|---|
{hashes}

Images were resized to 64 x 64. The sets themselves are not part of this repository.

**Teacher and starting point**: Google's AugReg ViT-Ti/16 (Steiner et al., "How to train your ViT?", 2021;
google-research/vision_transformer, Apache-2.0; timm's port `vit_tiny_patch16_224.augreg_in21k_ft_in1k`, Apache-2.0),
pre-trained on ImageNet-21k and fine-tuned on ImageNet-1k. The copy used was identified by its behaviour (it names ImageNet
photographs rightly), not by a checksum against the original file. mini-vit is a modified, reduced derivative of it.

## Licence of the weights

The weights are released under **Apache-2.0**, like the code. The reasons:

- They derive from the teacher's weights, which are Apache-2.0: modified, and stated so here.
- The data licences are CC0, MIT, Apache-2.0 and CC BY 4.0; share-alike sets were left out on purpose. The weights contain no
  image of the sets and none is redistributed here, so the MIT and Apache-2.0 notices, which go with copies of the data, are
  not triggered; the authors are credited all the same.
- CC BY 4.0 (NLVR, EmojiTwo, FxEmojis) asks for attribution and a note of changes when material is shared. Whether trained
  weights are adapted material is unsettled. Should they be, CC BY 4.0 allows adaptations under other terms as long as the
  attribution is kept, and the table above is that attribution. **Who passes the weights on keeps this page with them.**
"""


def row(name: str, record: dict[str, Any]) -> str:
    probe = record["probe_val_accuracy"][name]
    cells = (name, record["train_images"][name], record["head_val_accuracy"][name], probe["mini_vit"], probe["random_init"])
    return "| " + " | ".join(map(str, cells)) + " |"


def write_card(record: dict[str, Any], path: Path) -> None:
    """The page at ``path``, whole; what stands there on other weights stays at its end."""
    others = path.read_text().partition(OTHERS) if path.is_file() else ("", "", "")
    digits = record["probe_digits_test_accuracy_unseen"]
    path.write_text(
        CARD.format(
            **record,
            **record["versions"],
            epochs=record["settings"]["epochs"],
            seed=record["settings"]["seed"],
            rows="\n".join(row(name, record) for name in record["sets_seen"]),
            digits_mini=digits["mini_vit"],
            digits_random=digits["random_init"],
            seen=", ".join(record["sets_seen"]),
            sources="\n".join(f"| {source.name} | {source.licence} | {source.credit} |" for source in SOURCES),
            hashes="\n".join(f"| {name} | `{digest}` |" for name, digest in record["data_sha256"].items()),
        )
        + "\n" * bool(others[1]) + "".join(others[1:])
    )
