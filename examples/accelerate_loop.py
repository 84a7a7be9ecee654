"""The same under accelerate: one device or many, any precision.    accelerate launch examples/accelerate_loop.py"""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from transformers import ViTConfig, ViTForImageClassification

import inarch


def backbone():  # yours: ViTForImageClassification.from_pretrained("google/vit-base-patch16-224-in21k", num_labels=10)
    torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
    return ViTForImageClassification(ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                               image_size=8, patch_size=2, num_channels=1, num_labels=10, initializer_range=0.2))


def main(folder="runs/accelerate", epochs=4):
    accelerator, digits = Accelerator(), load_digits()  # yours: Accelerator(mixed_precision="bf16"), any images and labels
    data = TensorDataset(torch.tensor(digits.images[:512] / 8 - 1).float()[:, None], torch.tensor(digits.target[:512]))
    model = inarch.graft(backbone(), inarch.ARC(rank=8), thaw="head").train()
    optimizer, losses = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2), []
    model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(data, batch_size=64, shuffle=True))
    for _ in range(epochs):
        for images, labels in loader:
            loss = model(images, labels=labels).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    model = accelerator.unwrap_model(model).eval()
    if accelerator.is_main_process:
        inarch.save(model, folder)  # inarch.load(backbone(), folder) brings it back
    accelerator.print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    return model, losses


if __name__ == "__main__":
    main()
