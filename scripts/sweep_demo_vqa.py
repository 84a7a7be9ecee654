"""Which learning rate ``inarch demo vqa`` uses: by validation alone, the test part stays unseen.

    python scripts/sweep_demo_vqa.py        writes results/demo-vqa/sweep.jsonl, a line per setting; goes on where it was stopped
"""

from demo_sweep import sweep

from inarch.demo_vqa import ENTRIES, recipe_fields

if __name__ == "__main__":
    sweep("demo-vqa", ENTRIES, (1e-3, 3e-3, 1e-2), lambda entry, place: recipe_fields(entry, place, False, 1), "exact_match")
