"""Instruments: what a training step costs in time and memory over the least it could cost, and what importing costs."""

from inarch.bench.imports import bench_import
from inarch.bench.train import bench_train

__all__ = ["bench_import", "bench_train"]
