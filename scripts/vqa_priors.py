"""What the questions of the tables in results/vqa give away: the commonest training answer, without a look at the picture.

    python scripts/vqa_priors.py --data ../shared/data            writes results/vqa-priors.json

    easy-VQA   the commonest answer to the same words       VQA-RAD   to questions of the same kind (open or closed, question type)
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np


def prior(keys: np.ndarray, answers: np.ndarray, split: np.ndarray) -> float:
    """Share of test questions (split 2) whose answer is the commonest of their key in training (split 0)."""
    seen: dict[str, Counter] = defaultdict(Counter)
    for key, answer in zip(keys[split == 0], answers[split == 0], strict=True):
        seen[str(key)][str(answer)] += 1
    said = {key: counts.most_common(1)[0][0] for key, counts in seen.items()}
    return float(np.mean([said.get(str(k)) == str(a) for k, a in zip(keys[split == 2], answers[split == 2], strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    easy, rad = (np.load(args.data / f"{name}.npz", allow_pickle=False) for name in ("easy_vqa", "vqa_rad"))
    kinds = np.array([f"{a} {b}" for a, b in zip(rad["answer_type"], rad["question_type"], strict=True)])
    found = {"easy_vqa": prior(easy["questions"][easy["question_id"]], easy["answers"][easy["answer_id"]], easy["split"]),
             "vqa_rad": prior(kinds, rad["answer"], rad["split"]), "command": "python scripts/vqa_priors.py --data ../shared/data"}
    Path("results/vqa-priors.json").write_text(json.dumps(found, indent=1) + "\n")
    print(found)


if __name__ == "__main__":
    main()
