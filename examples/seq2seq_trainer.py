"""VL-PET on T5 under Seq2SeqTrainer.    python examples/seq2seq_trainer.py [FOLDER]; after a crash: FOLDER resume"""

import sys

import torch
from peft import get_peft_model
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, T5Config, T5ForConditionalGeneration

from inarch.peft import VLPETConfig


def backbone():  # yours: T5ForConditionalGeneration.from_pretrained("t5-base")
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same numbers each time, as a pre-trained one has
        return T5ForConditionalGeneration(T5Config(vocab_size=16, d_model=32, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0))


def data(seed, n):  # yours: token ids of questions and of their answers; here: whether the ids are large on average, and the end
    ids = torch.randint(2, 16, (n, 5), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": torch.tensor([2 + int(row.sum() > 42), 1])} for row in ids]


def right(outcome):
    return {"right": float((outcome.predictions[:, 1] == outcome.label_ids[:, 0]).mean())}


def main(folder="runs/seq2seq", resume="", callbacks=None):
    model = get_peft_model(backbone(), VLPETConfig(gate="large", rank=8, gate_rank=8, value_rank=8))
    args = Seq2SeqTrainingArguments(folder, num_train_epochs=4, per_device_train_batch_size=32, learning_rate=0.1, logging_steps=8,
                                    save_steps=24, report_to="none", eval_strategy="epoch", predict_with_generate=True,
                                    generation_max_length=3)
    trainer = Seq2SeqTrainer(model, args, train_dataset=data(0, 512), eval_dataset=data(1, 64), compute_metrics=right, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=bool(resume))  # True: from the newest checkpoint in the folder
    model.save_pretrained(f"{folder}/adapter")  # PeftModel.from_pretrained(backbone(), ...), after import inarch.peft
    return model.eval(), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


if __name__ == "__main__":
    main(*sys.argv[1:])
