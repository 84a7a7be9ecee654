"""What ``pretrain_mini_clip.py`` is made of."""
