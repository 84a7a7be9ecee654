"""A stand-in for CLIP out of real parts: an ImageNet ViT-Tiny and a MiniLM sentence encoder, brought into one space."""
