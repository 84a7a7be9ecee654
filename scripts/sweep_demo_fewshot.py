"""Which learning rate ``inarch demo fewshot`` uses: by validation pictures of the base names alone; MMA keeps its published one.

    python scripts/sweep_demo_fewshot.py    writes results/demo-fewshot/sweep.jsonl, a line per setting; goes on where it was stopped
"""

from demo_sweep import sweep

from inarch import demo_fewshot

if __name__ == "__main__":
    tuned = [entry for entry in demo_fewshot.ENTRIES if entry.method in ("lora", "adaring")]
    sweep("demo-fewshot", tuned, (1e-3, 3e-3, 1e-2), lambda entry, place: demo_fewshot.recipe_fields(entry, place, False, 1), "accuracy")
