"""ARC on DINOv2 with a segmentation head of one's own.    python examples/segmentation.py"""

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy, interpolate
from transformers import Dinov2Config, Dinov2Model

import inarch


def backbone():  # yours: Dinov2Model.from_pretrained("facebook/dinov2-base")
    torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return Dinov2Model(Dinov2Config(**shape, image_size=16, patch_size=2, num_channels=1, initializer_range=0.2))


def masks(model, head, images):  # [B, classes, height, width]
    scores = head(model(images).last_hidden_state[:, 1:]).transpose(1, 2)  # of patches, without the class token
    return interpolate(scores.unflatten(2, (images.shape[-2] // model.config.patch_size, -1)), size=images.shape[-2:], mode="bilinear")


def main(folder="runs/segmentation", epochs=4):  # yours: images [N, 3, H, W] and a class per pixel [N, H, W]; here: whether it is ink
    images = interpolate(torch.tensor(load_digits().images[:256] / 8 - 1).float()[:, None], size=16, mode="bilinear")
    model, head, losses = inarch.graft(backbone(), inarch.ARC(rank=8)).train(), torch.nn.Linear(32, 2), []
    optimizer = torch.optim.AdamW([*(p for p in model.parameters() if p.requires_grad), *head.parameters()], lr=1e-2)
    for rows in torch.cat([torch.randperm(len(images)) for _ in range(epochs)]).split(32):
        loss = cross_entropy(masks(model, head, images[rows]), (images[rows, 0] > 0).long())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    save_file(head.state_dict(), inarch.save(model.eval(), folder) / "head.safetensors")
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    return model, head, losses


if __name__ == "__main__":
    main()
