"""ARC on the language blocks of a decoder-only vision-language model, its projector thawed.    python examples/decoder_vlm.py"""

import torch
from sklearn.datasets import load_digits
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

import inarch

IMAGE, ASK, ANSWER = 20, 3, 4  # token ids: a place of the picture, "which digit?", and 4 to 13 for 0 to 9


def backbone():  # yours: AutoModelForImageTextToText.from_pretrained("HuggingFaceTB/SmolVLM-256M-Instruct")
    torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "initializer_range": 0.15}
    text = shape | {"model_type": "llama", "vocab_size": 21, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = shape | {"image_size": 8, "patch_size": 2}
    return SmolVLMForConditionalGeneration(SmolVLMConfig(vision_config=vision, text_config=text, scale_factor=2, image_token_id=IMAGE))


def examples(start, stop):  # yours: AutoProcessor's prompts and pixels; labels are -100 where nothing is to be said
    images, answers = load_digits().images[start:stop], torch.tensor(load_digits().target[start:stop, None]) + ANSWER
    prompt = torch.tensor([1, IMAGE, IMAGE, IMAGE, IMAGE, ASK]).expand(len(answers), -1)
    return {"pixel_values": torch.tensor(images / 8 - 1).float()[:, None, None].expand(-1, 1, 3, -1, -1),
            "input_ids": torch.cat([prompt, answers], dim=1), "labels": torch.cat([torch.full_like(prompt, -100), answers], dim=1)}


def main(folder="runs/decoder-vlm", steps=100):
    model = inarch.graft(backbone(), inarch.ARC(rank=16, towers=("text",)), thaw="projector").train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    batch, order = examples(0, 1000), torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randperm(1000, generator=order)[:64]
        model(**{key: value[rows] for key, value in batch.items()}).loss.backward()
        optimizer.step(), optimizer.zero_grad()
    return inarch.save(model.eval(), folder)  # inarch.load(backbone(), folder) brings it back


if __name__ == "__main__":
    main()
