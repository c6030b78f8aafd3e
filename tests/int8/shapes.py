"""Images of shapes, drawn by NumPy from a seed: 20 classes, cluttered, textured, noisy.

A shape of one class stands in each image, at any angle, off the middle, in colours that may come
close to those of its background; over it and under it lie stripes, gradients, lines and discs of
other colours. Nothing is downloaded, and 10,000 images take a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]  # float32, which numpy's types lose sight of

SIZE = 48  # pixels a side
MEAN, STD = 0.5, 0.22  # of all pixels scaled to 0..1, near enough
CHUNK = 500  # images drawn at a time: some 60 MB of temporaries
NOISE = (0.04, 0.16)  # standard deviation of the pixels' noise, of the range 0..1
CONTRAST = (0.16, 0.55)  # distance of a shape's colour from its background's, per channel
CLUTTER = 4  # lines and discs under the shape, and one line over it


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, 3, 48, 48] and their classes int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def _box(u: Floats, v: Floats, width: float, height: float) -> Floats:
    """How far outside of a box of these half sides, negative inside; shapes' own units."""
    return np.maximum(np.abs(u) - width, np.abs(v) - height)


def _polygon(u: Floats, v: Floats, corners: int, apothem: float) -> Floats:
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    sides = [u * np.float32(np.cos(a)) + v * np.float32(np.sin(a)) for a in angles]
    farthest: Floats = np.maximum.reduce(sides)
    return farthest - np.float32(apothem)


def _radius(u: Floats, v: Floats) -> Floats:
    return np.sqrt(u * u + v * v + np.float32(1e-6))


def _flower(u: Floats, v: Floats) -> Floats:
    petals: Floats = 0.33 * np.cos(5 * np.arctan2(v, u))
    return 0.8 * (_radius(u, v) - 0.62 - petals)


def _chevron(u: Floats, v: Floats) -> Floats:
    a, b = np.abs(u), v + 0.35
    arms: Floats = np.abs(0.7071 * (b - a) + 0.12) - 0.2
    return np.maximum(arms, a - 0.85)


# Each says how far outside of its shape a place is, negative inside; the shape's radius is 1.
SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": lambda u, v: _radius(u, v) - 0.82,
    "ring": lambda u, v: np.abs(_radius(u, v) - 0.7) - 0.19,
    "triangle": lambda u, v: _polygon(u, v, 3, 0.5),
    "square": lambda u, v: _box(u, v, 0.72, 0.72),
    "pentagon": lambda u, v: _polygon(u, v, 5, 0.74),
    "flower": _flower,
    "spikes": lambda u, v: 0.6 * (np.sqrt(np.abs(u)) + np.sqrt(np.abs(v)) - 1.08),
    "plus": lambda u, v: np.minimum(_box(u, v, 0.9, 0.26), _box(u, v, 0.26, 0.9)),
    "bar": lambda u, v: _box(u, v, 0.95, 0.24),
    "two bars": lambda u, v: _box(u, np.abs(v) - 0.46, 0.85, 0.21),
    "L": lambda u, v: np.minimum(_box(u + 0.45, v, 0.24, 0.85), _box(u, v - 0.62, 0.69, 0.24)),
    "T": lambda u, v: np.minimum(_box(u, v + 0.55, 0.8, 0.24), _box(u, v, 0.24, 0.79)),
    "crescent": lambda u, v: np.maximum(_radius(u, v) - 0.85, 0.62 - _radius(u - 0.42, v)),
    "half disc": lambda u, v: np.maximum(_radius(u, v + 0.3) - 0.9, -(v + 0.3)),
    "ellipse": lambda u, v: 0.6 * (_radius(u / 0.95, v / 0.52) - 1),
    "frame": lambda u, v: np.abs(_box(u, v, 0.62, 0.62)) - 0.17,
    "chevron": _chevron,
    "two discs": lambda u, v: _radius(np.abs(u) - 0.55, v) - 0.4,
    "Z": lambda u, v: np.minimum.reduce(
        [_box(u + 0.38, v + 0.5, 0.45, 0.22), _box(u, v, 0.22, 0.7),
         _box(u - 0.38, v - 0.5, 0.45, 0.22)]
    ),
    "H": lambda u, v: np.minimum(_box(np.abs(u) - 0.55, v, 0.22, 0.8), _box(u, v, 0.55, 0.2)),
}  # fmt: skip
CLASSES = len(SHAPES)


def draw_shapes(count: int, *, seed: int) -> Split:
    """`count` images, the classes in equal numbers and in no order.

    The first images of a longer run are those of a shorter one, up to whole chunks of 500.
    """
    images = np.empty((count, 3, SIZE, SIZE), np.uint8)
    labels = np.empty(count, np.int64)
    for number, start in enumerate(range(0, count, CHUNK)):
        rng = np.random.default_rng([seed, number])
        chunk_labels = rng.permutation(np.arange(CHUNK) % CLASSES)
        drawn = _draw(rng, chunk_labels)
        stop = min(start + CHUNK, count)
        images[start:stop] = drawn[: stop - start]
        labels[start:stop] = chunk_labels[: stop - start]
    return Split(images, labels)


def standardised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the networks take: float32 of the same shape, mean 0 and standard deviation 1."""
    scaled = images.astype(np.float32) / np.float32(255)
    return (scaled - np.float32(MEAN)) / np.float32(STD)


def _draw(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    count = len(labels)
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / (SIZE / 2) - 1
    y, x = (part[None] for part in np.meshgrid(axis, axis, indexing="ij"))  # [1, S, S]

    def uniform(low: float, high: float, *shape: int) -> Floats:
        return rng.uniform(low, high, (count, *shape)).astype(np.float32)

    def each(values: Floats) -> Floats:  # [N] against [N, S, S]
        return values[:, None, None]

    def waves(reach: float, fastest: float) -> Floats:
        """A plane wave for each image [N, S, S], of values to `reach` either way."""
        angle, speed = uniform(0, 2 * np.pi), uniform(1, fastest)
        phase = x * each(np.cos(angle) * speed) + y * each(np.sin(angle) * speed)
        height = each(uniform(0, reach))
        wave: Floats = np.sin(phase + each(uniform(0, 2 * np.pi)))
        return height * wave

    base = uniform(0.2, 0.8, 3)
    canvas = np.repeat(base[..., None], SIZE * SIZE, axis=2).reshape(count, 3, SIZE, SIZE)
    for channel in range(3):
        canvas[:, channel] += waves(0.16, 5) + waves(0.12, 20)
    canvas += each(uniform(-0.12, 0.12))[:, None] * x[:, None]

    def lay_over(mask: Floats, colour: Floats) -> None:
        canvas[:] += mask[:, None] * (colour - canvas)

    def line() -> Floats:
        angle = uniform(0, np.pi)
        across = x * each(np.cos(angle)) + y * each(np.sin(angle)) - each(uniform(-0.9, 0.9))
        return _filled(np.abs(across) - each(uniform(0.02, 0.07)))

    for number in range(CLUTTER):
        if number % 2:
            centre_x, centre_y = each(uniform(-1, 1)), each(uniform(-1, 1))
            mask = _filled(_radius(x - centre_x, y - centre_y) - each(uniform(0.08, 0.3)))
        else:
            mask = line()
        lay_over(mask * each(uniform(0.2, 0.9)), uniform(0.1, 0.9, 3)[..., None, None])

    angle, radius = uniform(-np.pi, np.pi), uniform(0.42, 0.8)
    right, down = x - each(uniform(-0.22, 0.22)), y - each(uniform(-0.22, 0.22))
    cos, sin = each(np.cos(angle)), each(np.sin(angle))
    u = (right * cos + down * sin) / each(radius * uniform(0.88, 1.12))
    v = (down * cos - right * sin) / each(radius)
    outside = np.empty_like(u)
    for label, shape in enumerate(SHAPES.values()):
        mine = labels == label
        outside[mine] = shape(u[mine], v[mine])
    # Towards the darker or the brighter side, whichever has more room in each channel.
    towards = np.where(base > 0.5, -1, 1) * uniform(*CONTRAST, 3)
    colour = (base + towards)[..., None, None] + waves(0.16, 18)[:, None]
    lay_over(_filled(outside * each(radius)), colour)
    lay_over(line() * each(uniform(0, 1)), uniform(0.1, 0.9, 3)[..., None, None])

    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    canvas += noise * uniform(*NOISE)[:, None, None, None]
    pixels: NDArray[np.uint8] = (np.clip(canvas, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return pixels


def _filled(outside: Floats) -> Floats:
    """1 inside, 0 outside, between them over a pixel."""
    covered: Floats = np.clip(0.5 - outside * (SIZE / 2), 0, 1)
    return covered
