"""How much of each pixel a line or a filled outline covers, between 0 and 1.

    d(p) = distance of pixel centre p to the nearest segment
    line of width w     clip(1/2 + (w / 2 - d) / soft, 0, 1)
    filled outline      clip(1/2 + d / soft, 0, 1) inside, clip(1/2 - d / soft, 0, 1) outside       (even-odd rule)
"""

from __future__ import annotations

import numpy as np

from inarch.scenes.outlines import Line

Box = tuple[slice, slice]


def box_of(x: float, y: float, reach: float, side: int) -> Box:
    """The pixels around (x, y) as slices (rows, columns), cut at the picture's edge."""
    low = np.clip(np.floor(np.array([y, x]) - reach).astype(int), 0, side)
    high = np.clip(np.ceil(np.array([y, x]) + reach).astype(int) + 1, 0, side)
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def centres(box: Box) -> np.ndarray:
    """Pixel centres ``[rows, columns, 2]`` as (x, y)."""
    rows, columns = np.arange(box[0].start, box[0].stop) + 0.5, np.arange(box[1].start, box[1].stop) + 0.5
    return np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1).astype(np.float32)


def distance(pixels: np.ndarray, line: Line, closed: bool) -> np.ndarray:
    """To the nearest segment of ``line``."""
    line = line.astype(np.float32)
    start, end = (line, np.roll(line, -1, axis=0)) if closed else (line[:-1], line[1:])
    (sx, sy), x, y = (end - start).T, pixels[..., 0, None] - start[:, 0], pixels[..., 1, None] - start[:, 1]
    share = np.clip((x * sx + y * sy) / np.maximum(sx * sx + sy * sy, 1e-12), 0, 1)
    x, y = x - share * sx, y - share * sy
    return np.sqrt((x * x + y * y).min(-1))


def inside(pixels: np.ndarray, line: Line) -> np.ndarray:
    """Whether a ray to the right crosses the closed ``line`` an odd number of times."""
    x, y = pixels[..., 0, None], pixels[..., 1, None]
    (ax, ay), (bx, by) = line.T.astype(np.float32), np.roll(line, -1, axis=0).T.astype(np.float32)
    spans = (ay > y) != (by > y)
    crossing = ax + (y - ay) * ((bx - ax) / np.where(by == ay, 1, by - ay))
    return np.count_nonzero(spans & (x < crossing), axis=-1) % 2 == 1


def filled(pixels: np.ndarray, line: Line, soft: float) -> np.ndarray:
    away = distance(pixels, line, closed=True)
    return np.clip(0.5 + np.where(inside(pixels, line), away, -away) / soft, 0, 1)


def drawn(pixels: np.ndarray, line: Line, closed: bool, width: float, soft: float) -> np.ndarray:
    return np.clip(0.5 + (width / 2 - distance(pixels, line, closed)) / soft, 0, 1)
