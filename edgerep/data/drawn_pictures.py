"""Images that look like something: what units deep in a network answer to, as they do not to noise.

Noise excites the same few units of a trained network whatever its seed, and a fault in a weight of
any other shows nowhere. Pictures have what photographs have: areas, edges, occlusion, strokes,
textures and a spectrum that falls with frequency (dead leaves: Lee, Mumford and Huang, "Occlusion
models for natural images", 2001).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_LEAVES = 40  # discs and boxes of a picture of leaves
_STROKES = 6  # lines of a drawing, at most


def draw(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Numbers:
    """Pictures [count, *shape] of numbers from 0 to 1; the last two dimensions are the image.

    Leaves, drawings, textures and gratings take turns.
    """
    grid = (*(1,) * max(0, 3 - len(shape)), *shape)
    channels, height, width = int(np.prod(grid[:-2])), grid[-2], grid[-1]
    makers = (_leaves, _drawing, _texture, _leaves, _drawing, _grating)
    pictures = [makers[index % len(makers)](channels, height, width, rng) for index in range(count)]
    return np.stack(pictures).reshape(count, *shape)


def _leaves(channels: int, height: int, width: int, rng: np.random.Generator) -> Numbers:
    """Discs and boxes over each other, large and small, each with a little grain."""
    rows, columns = np.ogrid[:height, :width]
    picture = np.broadcast_to(rng.random((channels, 1, 1)), (channels, height, width)).copy()
    side = min(height, width)
    for index in range(_LEAVES):
        reach = side * 0.5 * 0.06 ** rng.random()  # as many small as large ones on each scale
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        dy, dx = np.abs(rows - y), np.abs(columns - x)
        inside = (dy**2 + dx**2 < reach**2) if index % 3 else (dy < reach) & (dx < reach / 2)
        picture[:, inside] = rng.random((channels, 1))
    return np.clip(picture + 0.03 * rng.standard_normal(picture.shape), 0, 1)


def _drawing(channels: int, height: int, width: int, rng: np.random.Generator) -> Numbers:
    """Strokes with soft borders on an even ground, as of writing; dark on light or the reverse."""
    rows, columns = np.mgrid[:height, :width]
    side = min(height, width)
    ink = np.zeros((height, width))
    start = rng.uniform(0.15, 0.85, 2) * (height, width)
    for _ in range(rng.integers(1, _STROKES + 1)):
        end = rng.uniform(0.1, 0.9, 2) * (height, width)
        along = end - start
        length = max(float(along @ along), 1e-9)
        share = ((rows - start[0]) * along[0] + (columns - start[1]) * along[1]) / length
        share = np.clip(share, 0, 1)
        far = np.hypot(rows - start[0] - share * along[0], columns - start[1] - share * along[1])
        thick = side * rng.uniform(0.03, 0.1)
        ink = np.maximum(ink, np.clip(1.5 - far / max(thick, 0.7), 0, 1))
        start = end
    ground, colour = rng.random((2, channels, 1, 1))
    if rng.random() < 0.5:  # as in many data sets: full contrast
        ground, colour = np.zeros_like(ground), np.ones_like(colour)
    result: Numbers = ground + (colour - ground) * ink
    return result


def _texture(channels: int, height: int, width: int, rng: np.random.Generator) -> Numbers:
    """Noise whose amplitude falls with frequency, each channel partly the same."""
    vertical = np.fft.fftfreq(height)[:, None]
    horizontal = np.fft.rfftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(vertical, horizontal), 1 / max(height, width))
    falling **= rng.uniform(0.5, 1.5)
    noise = rng.standard_normal((channels, height, width)) + 2 * rng.standard_normal(
        (height, width)
    )
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * falling, s=(height, width))
    spread = smooth.std() or 1.0
    result: Numbers = np.clip(rng.uniform(0.2, 0.8) + 0.25 * smooth / spread, 0, 1)
    return result


def _grating(channels: int, height: int, width: int, rng: np.random.Generator) -> Numbers:
    """Waves of one direction and frequency, of another colour where they are high."""
    rows, columns = np.mgrid[:height, :width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(2, max(3.0, min(height, width) / 2))
    phase = 2 * np.pi * (np.cos(angle) * rows + np.sin(angle) * columns) / period
    wave = 0.5 + 0.5 * np.sin(phase + rng.uniform(0, 2 * np.pi))
    low, high = rng.random((2, channels, 1, 1))
    result: Numbers = low + (high - low) * wave
    return result
