"""The parts of a generation run against naive restatements of the published rules: losses, order, schedule, padding, choices."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from chatter import Chatter, tokenizer
from torch import nn
from torch.nn import functional as F

from inarch.data.pairs import PROTOCOLS, Example
from inarch.errors import ConfigError
from inarch.tasks.generate import PAD, Generator, Prompt, Target, losses
from inarch.tasks.texts import choices, corpus, speak
from inarch.training.mixed import Mixed, Share, batch_size
from inarch.training.order import Chunks, Order, Shards, keyed, some
from inarch.training.schedule import schedule
from inarch.training.texts import TextFeed, scales


class Fixed:
    """A store whose features say which image they are of."""

    tokens, width = 2, 3

    def batch(self, images):
        return torch.stack([torch.full((2, 3), float(image)) for image in images])


def examples(count: int, targets=None) -> list[Example]:
    texts = ["vqa: what colour is this ?", "vqa: what colour is the square on the left of this square ?"]
    answers = (("red", 1.0), ("pale red", 0.3)) if targets is None else targets
    return [Example(f"k{i}", (str(i),), texts[i % 2], answers if i % 3 else (("dark", 0.6),)) for i in range(count)]


def feed(protocol: str, count: int = 11, **how) -> TextFeed:
    words = tokenizer("bart")
    return TextFeed([corpus(words, PROTOCOLS[protocol], examples(count, **how), told=True)], Fixed(), words.pad_token_id, 7, 0)


@pytest.mark.parametrize("name, protocol", [("soft", "vqa"), ("sample", "gqa"), ("token", "caption")])
@pytest.mark.parametrize("processes", [1, 2])
def test_the_loss_of_an_update_is_the_published_one(name, protocol, processes):
    """Over any split of the batch into passes and processes, against loops over examples and tokens."""
    source, words = feed(protocol), tokenizer("bart")
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(11, 12, len(words), generator=generator, dtype=torch.float64)  # logits of every row and place
    order, epoch = Order(11, 4, 2, seed=3), 2
    for window_number in (0, 1):
        total, rows = 0.0, torch.cat(list(order.windows(epoch)[window_number]))
        for rank in range(processes):
            shards = Shards(order, rank, processes)
            micros = shards.place(epoch, window_number)[0]
            for micro, mine, batch in zip(micros, shards, source.batches(shards, epoch), strict=False):
                logits = table[mine][:, : batch.targets.labels.shape[1]]
                total += float(losses(logits, batch.targets).sum()) * shards.has(micro)
        assert total / source.mass(rows.tolist(), epoch) == pytest.approx(naive(name, source, rows.tolist(), table, epoch), rel=1e-12)


def naive(name: str, source: TextFeed, rows: list[int], table: torch.Tensor, epoch: int) -> float:
    from inarch.data.pairs import sampled_target

    words, per_example, tokens = tokenizer("bart"), [], []
    for row in rows:
        answer, weight = sampled_target(source.table.corpora[0].examples[row], 7, epoch)
        ids = words(answer)["input_ids"]
        each = [-float(torch.log_softmax(table[row, t], -1)[token]) for t, token in enumerate(ids)]
        tokens += each
        per_example.append(sum(each) / len(each) * (weight if name == "soft" else 1.0))
    return sum(tokens) / len(tokens) if name == "token" else sum(per_example) / len(rows)


def test_another_answer_may_be_told_in_another_epoch():
    source = feed("vqa")
    told = [next(source.batches(Chunks(11, 11), epoch)).targets.labels for epoch in range(4)]
    again = next(source.batches(Chunks(11, 11), 2)).targets.labels
    assert torch.equal(told[2], again) and any(t.shape != told[0].shape or not torch.equal(t, told[0]) for t in told[1:])


def test_an_unanswered_example_counts_and_teaches_nothing():
    source = feed("vqa", targets=())
    batch = next(source.batches(Chunks(11, 11)))
    assert [bool(scale) for scale in batch.targets.scale] == [i % 3 == 0 for i in range(11)]
    assert source.mass(list(range(11)), 0) == 11


def test_scales():
    weights, tokens = np.array([1.0, 0.3]), np.array([4, 2])
    assert scales("soft", weights, tokens).tolist() == [0.25, 0.15]
    assert scales("sample", weights, tokens).tolist() == [0.25, 0.5]
    assert scales("token", weights, tokens).tolist() == [1, 1]


def test_losses_ignore_padding():
    logits = torch.randn(2, 3, 5, dtype=torch.float64)
    labels = torch.tensor([[1, 2, PAD], [3, PAD, PAD]])
    found = losses(logits, Target(labels, torch.tensor([0.5, 2.0])))
    expected = [0.5 * F.cross_entropy(logits[0, :2], labels[0, :2], reduction="sum"), 2 * F.cross_entropy(logits[1, :1], labels[1, :1])]
    assert found.tolist() == pytest.approx([float(value) for value in expected])


def test_batches_are_padded_on_the_right_and_alike_in_every_process():
    """Processes of one micro-batch see its longest text, whoever has it."""
    source, order = feed("vqa"), Order(11, 4, 1, seed=1)
    alone = [batch for batch in source.batches(Shards(order))]
    split = [list(source.batches(Shards(order, rank, 2))) for rank in range(2)]
    for whole, first, second in zip(alone, *split, strict=True):
        for name in ("input_ids", "attention_mask", "features", "labels"):
            together = getattr(whole.inputs, name)
            assert torch.equal(getattr(first.inputs, name), together[0::2])
            if len(together) > 1:
                assert torch.equal(getattr(second.inputs, name), together[1::2])
    batch = alone[0].inputs
    words = tokenizer("bart")
    lengths = batch.attention_mask.sum(1)
    assert (batch.input_ids == words.pad_token_id).sum() == batch.attention_mask.numel() - lengths.sum() > 0
    assert all(mask[:n].all() and not mask[n:].any() for mask, n in zip(batch.attention_mask, lengths, strict=True))
    assert batch.features.shape == (4, 1, 2, 3) and len(batch) == 4


def test_texts_are_cut_as_published():
    words = tokenizer("bart")
    long = Example("k", ("0",), "vqa: " + "square " * 40, (("red " * 30, 1.0),))
    found = corpus(words, PROTOCOLS["vqa"], [long], told=True)
    for ids, most in ((found.texts.ids[0], 20), (found.targets.ids[0], 10)):
        assert len(ids) == most and ids[0] == words.bos_token_id and ids[-1] == words.eos_token_id
    assert len(corpus(words, PROTOCOLS["nlvr"], [long]).texts.ids[0]) == 44  # <s> vqa : square x 40 </s>


# the order of the data


SHARES = (Share("vqa", 0, 23, 5), Share("gqa", 23, 11, 8), Share("nlvr", 34, 4, 1))


@pytest.mark.parametrize("epoch", range(3))
def test_published_interleaving(epoch):
    """Spec 3.6, stated again: names repeated, shuffled by Random(epoch), popped from the end; DistributedSampler of seed 0."""
    from torch.utils.data.distributed import DistributedSampler

    names = [name for name, n, b in (("vqa", 23, 5), ("gqa", 11, 8), ("nlvr", 4, 1)) for _ in range(math.ceil(n / b))]
    random.Random(epoch).shuffle(names)
    loaders = {}
    for name, first, n, b in (("vqa", 0, 23, 5), ("gqa", 23, 11, 8), ("nlvr", 34, 4, 1)):
        sampler = DistributedSampler(range(n), num_replicas=1, rank=0)
        sampler.set_epoch(epoch)
        rows = [first + row for row in sampler]
        loaders[name] = iter([rows[i : i + b] for i in range(0, n, b)])
    expected = []
    while names:
        expected.append(next(loaders[names.pop()]))
    for seed in (0, 9595):
        found = Mixed(SHARES, 1, seed, published=True)
        assert [torch.cat(list(window)).tolist() for window in found.windows(epoch)] == expected
        assert found.updates == len(expected) == 5 + 2 + 4


def test_seeded_interleaving_uses_every_row_once_and_one_task_per_update():
    found = Mixed(SHARES, 2, seed=1)
    windows = found.windows(0)
    assert len(windows) == found.updates == 3 + 1 + 2
    rows = [torch.cat(list(window)).tolist() for window in windows]
    assert sorted(row for window in rows for row in window) == list(range(38))
    tasks = [{next(s.name for s in SHARES if s.first <= row < s.first + s.rows) for row in window} for window in rows]
    assert all(len(names) == 1 for names in tasks)
    assert [names.pop() for names in tasks] == found.names(0)
    sizes = {s.name: s.batch_size for s in SHARES}
    assert all(len(micro) <= sizes[name] for window, name in zip(windows, found.names(0), strict=True) for micro in window)
    assert found.names(0) != found.names(1) or found.names(1) != found.names(2)
    assert found.names(0) != Mixed(SHARES, 2, seed=2).names(0) or found.names(1) != Mixed(SHARES, 2, seed=2).names(1)


def test_one_task_is_in_the_order_of_every_other_run():
    alone, plain = Mixed((Share("qa", 0, 23, 4),), 2, seed=5), Order(23, 4, 2, seed=5)
    for epoch in range(2):
        pairs = zip(alone.windows(epoch), plain.windows(epoch), strict=True)
        assert all(torch.equal(torch.cat(list(a)), torch.cat(list(b))) for a, b in pairs)
    assert alone.updates == plain.updates


def test_published_batch_sizes():
    shares = [PROTOCOLS[name].share for name in ("vqa", "gqa", "nlvr", "caption", "tvqa")]
    assert [batch_size(500, share) for share in shares] == [500, 833, 166, 416, 500]
    assert [batch_size(300, share) for share in shares] == [300, 500, 100, 250, 300]
    assert batch_size(1, (20, 60)) == 1


def test_some_rows():
    assert some(10, 4, seed=1) == sorted(some(10, 4, seed=1)) and len(set(some(10, 4, seed=1))) == 4
    assert some(10, 4, seed=1) != some(10, 4, seed=2) and some(3, 10, seed=1) == [0, 1, 2]
    assert some(100, 9, 1, "vqa") != some(100, 9, 1, "gqa")


@pytest.mark.parametrize("epochs, per_epoch, warmup", [(20, 7, None), (3, 11, 1.0), (1, 1, 0.5), (5, 4, 0.0)])
def test_linear_schedule_is_that_of_transformers(epochs, per_epoch, warmup):
    from transformers import get_linear_schedule_with_warmup

    total = epochs * per_epoch
    share = epochs / 10 if warmup is None else warmup
    ours = schedule(3e-4, epochs, share, per_epoch, "linear")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=3e-4)
    theirs = get_linear_schedule_with_warmup(optimizer, min(int(share * per_epoch), total - 1), total)
    for update in range(total):
        assert ours(update) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        theirs.step()


# the net


@pytest.fixture(scope="module", params=["bart", "t5"])
def chatter(request, tmp_path_factory) -> Chatter:
    return Chatter(tmp_path_factory.mktemp(request.param), request.param)


def model_of(chatter: Chatter) -> nn.Module:
    from inarch import backbones

    return backbones.load(chatter.backbone, feature_width=6, visual_tokens=0).model


def test_a_choice_is_the_larger_logit_of_the_first_word(chatter):
    """BART tells ``<s>`` first, so that its first word stands at place 1; T5's at place 0."""
    model, kind = model_of(chatter), chatter.backbone.rpartition("/")[2]
    compared = choices(model.tokenizer, PROTOCOLS["nlvr"])
    assert len(compared.prefix) == {"bart": 1, "t5": 0}[kind]
    ids = model.tokenizer(["nlvr: both of the square is red"] * 5, return_tensors="pt")
    features = torch.randn(5, 2, 4, 6, generator=torch.Generator().manual_seed(2)) * 3
    prompt = Prompt(ids["input_ids"], ids["attention_mask"], features, torch.zeros(5, 0, dtype=torch.int64))
    hidden, mask = model.encode(ids["input_ids"], ids["attention_mask"], features)
    start = torch.tensor([[2, 0]] if kind == "bart" else [[0]]).expand(5, -1)
    logits = model.decode(hidden, mask, start)[:, -1]
    true, false = (model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("true", "false"))
    said = [compared.words[i] for i in Generator(model).choose(prompt, compared).flatten().tolist()]
    assert said == ["true" if row[true] > row[false] else "false" for row in logits]


def test_choices_that_begin_alike_are_refused():
    import dataclasses

    words = tokenizer("bart")
    alike = dataclasses.replace(PROTOCOLS["nlvr"], choices=("red square", "red"))
    with pytest.raises(ConfigError, match="does not tell the choices red square, red apart"):
        choices(words, alike)
    with pytest.raises(ConfigError, match="apart"):
        choices(words, dataclasses.replace(PROTOCOLS["nlvr"], choices=("wahr", "falsch")))


def test_what_is_generated_is_padded_to_one_width_and_spoken(chatter):
    model = model_of(chatter)
    ids = model.tokenizer(["vqa: what colour is this ?"] * 3, return_tensors="pt")
    prompt = Prompt(ids["input_ids"], ids["attention_mask"], torch.randn(3, 1, 4, 6), torch.zeros(3, 0, dtype=torch.int64))
    found = Generator(model).generate(prompt, beams=2, max_length=9, pad=model.tokenizer.pad_token_id)
    assert found.shape == (3, 9)
    inner = model.generate(ids["input_ids"], ids["attention_mask"], prompt.features, beams=2, max_length=9)
    assert torch.equal(found[:, : inner.shape[1]], inner)
    words = [model.tokenizer.convert_tokens_to_ids(word) for word in ("pale", "red")]
    end, pad = model.tokenizer.eos_token_id, model.tokenizer.pad_token_id
    assert speak(model.tokenizer, torch.tensor([[*words, end, pad, pad]])) == ["pale red"]


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.float32), ("fp64", torch.float64)])
def test_logits_are_wide(chatter, precision, dtype):
    model = model_of(chatter)
    model = model.double() if precision == "fp64" else model
    ids = model.tokenizer(["vqa: what colour is this ?"], return_tensors="pt")
    labels = model.tokenizer(["red"], return_tensors="pt")["input_ids"]
    prompt = Prompt(ids["input_ids"], ids["attention_mask"], torch.randn(1, 1, 4, 6), labels)
    assert Generator(model, precision)(prompt).dtype == dtype


def test_keyed_draws_do_not_depend_on_the_global_generator():
    torch.manual_seed(1)
    first = next(feed("vqa").batches(Shards(Order(11, 4, 1, keyed("a"))), 3)).targets.labels
    torch.manual_seed(2)
    assert torch.equal(first, next(feed("vqa").batches(Shards(Order(11, 4, 1, keyed("a"))), 3)).targets.labels)
