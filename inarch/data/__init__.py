"""Images and labels: read by address, checked before training, split by seed, transformed reproducibly."""

from inarch.data.check import Report, check
from inarch.data.images import open_image
from inarch.data.imageset import ImageSet, batches, workers_alive
from inarch.data.load import load_splits
from inarch.data.table import Problem, Splits, Table
from inarch.data.transforms import Transform

__all__ = [
    "ImageSet",
    "Problem",
    "Report",
    "Splits",
    "Table",
    "Transform",
    "batches",
    "check",
    "load_splits",
    "open_image",
    "workers_alive",
]
