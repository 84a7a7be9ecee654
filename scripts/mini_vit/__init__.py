"""The parts of ``scripts/pretrain_mini_vit.py``: what it reads, how the student starts, learns and is measured, the card."""
