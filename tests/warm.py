"""What the server of tests/forked.py imports before the first fork: everything that a training run imports late."""

import accelerate  # noqa: F401
import numpy  # noqa: F401
import plays  # noqa: F401
import transformers.models.bart.modeling_bart
import transformers.models.vit.modeling_vit  # noqa: F401

import inarch.cli.app
import inarch.train  # noqa: F401
