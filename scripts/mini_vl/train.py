"""The training of mini-vl: first the eyes alone, then eyes and language together.

    eyes       dense loss on plain scenes
    together   CE(target tokens) + DENSE * dense loss         AdamW, warm-up, cosine
"""
