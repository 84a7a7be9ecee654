"""ARC on a ViT under Lightning.    python examples/lightning_loop.py"""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset
from transformers import ViTConfig, ViTForImageClassification

import inarch


def backbone():  # yours: ViTForImageClassification.from_pretrained("google/vit-base-patch16-224-in21k", num_labels=10)
    torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
    return ViTForImageClassification(ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                               image_size=8, patch_size=2, num_channels=1, num_labels=10, initializer_range=0.2))


class Digits(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = inarch.graft(backbone(), inarch.ARC(rank=8), thaw="head").train()

    def training_step(self, batch):
        self.log("loss", loss := self.model(batch[0], labels=batch[1]).loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=3e-2)


def main(folder="runs/lightning", epochs=4, resume=None):  # resume: a checkpoint of Lightning's
    digits, module = load_digits(), Digits()  # yours: any images and labels
    data = TensorDataset(torch.tensor(digits.images[:512] / 8 - 1).float()[:, None], torch.tensor(digits.target[:512]))
    L.Trainer(max_epochs=epochs, default_root_dir=folder, logger=False).fit(module, DataLoader(data, 64, shuffle=True), ckpt_path=resume)
    return inarch.save(module.model.eval(), f"{folder}/adapter")  # inarch.load(backbone(), ...) brings it back


if __name__ == "__main__":
    main()
