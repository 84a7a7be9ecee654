"""Adapters and runs on the model hub: pushed with a generated card, fetched by ``hf:USER/NAME`` wherever a folder is read."""
