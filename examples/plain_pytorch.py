"""ARC on a ViT in a loop of one's own: graft, train, save, load.    python examples/plain_pytorch.py"""

import torch
from sklearn.datasets import load_digits
from transformers import ViTConfig, ViTForImageClassification

import inarch


def backbone():  # yours: ViTForImageClassification.from_pretrained("google/vit-base-patch16-224-in21k", num_labels=10)
    torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
    return ViTForImageClassification(ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                               image_size=8, patch_size=2, num_channels=1, num_labels=10, initializer_range=0.2))


def main(folder="runs/plain-pytorch", epochs=4):
    digits = load_digits()  # yours: any images and labels
    images, labels = torch.tensor(digits.images[:512] / 8 - 1).float()[:, None], torch.tensor(digits.target[:512])
    model = inarch.graft(backbone(), inarch.ARC(rank=8), thaw="head").train()
    print(inarch.count(model))
    optimizer, losses = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2), []
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = model(images[rows], labels=labels[rows]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    inarch.save(model.eval(), folder, extra={"classes": [str(name) for name in digits.target_names]})
    inarch.load(again := backbone(), folder)  # here, or in another process
    same = torch.equal(model(images).logits, again.eval()(images).logits)
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}; loaded anew, outputs equal: {same}")
    return model, losses


if __name__ == "__main__":
    main()
