"""transformers' Trainer through PEFT, with checkpoints.    python examples/trainer.py [FOLDER]; after a crash: FOLDER resume"""

import sys

import torch
from peft import get_peft_model
from sklearn.datasets import load_digits
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from inarch.peft import ARCConfig


def backbone():  # yours: ViTForImageClassification.from_pretrained("google/vit-base-patch16-224-in21k", num_labels=10)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
        return ViTForImageClassification(ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                                   image_size=8, patch_size=2, num_channels=1, num_labels=10, initializer_range=0.2))


def data():  # yours: any data set whose items are {"pixel_values": ..., "labels": ...}
    digits = load_digits()
    images = torch.tensor(digits.images[:512] / 8 - 1).float()[:, None]
    return [{"pixel_values": image, "labels": label} for image, label in zip(images, digits.target.tolist(), strict=False)]


def main(folder="runs/trainer", resume="", callbacks=None):
    model = get_peft_model(backbone(), ARCConfig(r=8, dropout=0.1, modules_to_save=["classifier"]))
    args = TrainingArguments(folder, num_train_epochs=4, per_device_train_batch_size=64, learning_rate=3e-2, logging_steps=4,
                             save_steps=12, report_to="none")
    trainer = Trainer(model, args, train_dataset=data(), callbacks=callbacks)
    trainer.train(resume_from_checkpoint=bool(resume))  # True: from the newest checkpoint in the folder
    model.save_pretrained(f"{folder}/adapter")  # PeftModel.from_pretrained(backbone(), ...), after import inarch.peft
    return model.eval(), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    main(*sys.argv[1:])
