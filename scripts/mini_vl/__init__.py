"""What ``pretrain_mini_vl.py`` is made of."""
