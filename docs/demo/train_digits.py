"""Train the demo checkpoint: a small RepVGG on scikit-learn's handwritten digits.

    python docs/demo/train_digits.py

Needs nothing but torch and scikit-learn, whose digits come with the package. Writes to `--out`:

    digits-repvgg.pth   the state_dict in train form, under the official key names
    calibration.npz     images uint8 [200, 1, 32, 32]
    test.npz            images uint8 [500, 1, 32, 32] and labels int64 [500]
    training.json       how it was trained, and what it scores

Nothing was tuned on the test images: they are scored once, after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional

from edgerep.networks.repvgg import RepVGG
from edgerep.networks.repvgg_architecture import Architecture

SEED = 20260
SIZE = 32  # pixels a side, from 8
CALIBRATION_IMAGES = 200
TEST_IMAGES = 500

DEPTHS = (2, 4, 8, 1)
DIGITS = Architecture(
    image_channels=1,
    stem_width=16,
    widths=(16, 32, 40, 64),
    depths=DEPTHS,
    # Blocks 2, 4, ... are grouped, counted with stage0 as 0, as in the published g2 variants.
    groups=tuple(2 if index and index % 2 == 0 else 1 for index in range(1 + sum(DEPTHS))),
    squeeze=False,
    classes=10,
)

BATCH = 64
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
ROTATION_DEGREES = 10.0
ZOOM = 0.1  # of the size, either way
SHIFT_PIXELS = 3.0


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, 1, 32, 32] and their digits int64 [N]."""

    images: Tensor
    labels: Tensor


def load_splits(seed: int = SEED) -> tuple[Split, Split, Split]:
    """The digits for training, calibration and test: disjoint, with all classes in proportion."""
    digits = load_digits()
    counts = torch.from_numpy(digits.images).float().unsqueeze(1)  # [N, 1, 8, 8], 0..16
    upsampled = functional.interpolate(counts * (255 / 16), size=(SIZE, SIZE), mode="bilinear")
    images = upsampled.round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()

    def cut(indices: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rest, part = train_test_split(
            indices, test_size=size, stratify=labels[indices].numpy(), random_state=seed
        )
        return rest, part

    rest, test = cut(np.arange(len(labels)), TEST_IMAGES)
    train, calibration = cut(rest, CALIBRATION_IMAGES)
    return (
        Split(images[train], labels[train]),
        Split(images[calibration], labels[calibration]),
        Split(images[test], labels[test]),
    )


def mean_and_std(images: Tensor) -> tuple[float, float]:
    """Of all pixels scaled to 0..1, rounded to the four decimals that are written down."""
    scaled = images.double() / 255
    return round(scaled.mean().item(), 4), round(scaled.std().item(), 4)


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, zoom and shift every image [N, 1, 32, 32] a little, each in its own way."""

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(len(pixels), generator=generator) - 1) * limit

    angle, zoom = uniform(math.radians(ROTATION_DEGREES)), 1 + uniform(ZOOM)
    shift = SHIFT_PIXELS / (SIZE / 2)  # the grid spans -1..1
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = (
        torch.stack([cos, -sin, uniform(shift)], dim=1),
        torch.stack([sin, cos, uniform(shift)], dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)  # black outside


def train(model: RepVGG, split: Split, *, mean: float, std: float, epochs: int) -> None:
    """AdamW with a short warm-up and a cosine to zero; `model` ends in eval mode."""
    generator = torch.Generator().manual_seed(SEED)
    pixels = split.images.float()
    batches = len(pixels) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * batches, pct_start=0.1
    )
    started = time.perf_counter()
    model.train()
    for epoch in range(1, epochs + 1):
        total_loss, correct = 0.0, 0
        for batch in torch.randperm(len(pixels), generator=generator).chunk(batches):
            images = (augment(pixels[batch], generator) / 255 - mean) / std
            labels = split.labels[batch]
            logits = model(images)
            loss = functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total_loss += loss.item() * len(batch)
            correct += int((logits.argmax(1) == labels).sum())
        if epoch == 1 or epoch % 10 == 0 or epoch == epochs:
            print(
                f"epoch {epoch:3}/{epochs}  loss {total_loss / len(pixels):.4f}  "
                f"augmented train {correct / len(pixels):.2%}  "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )
    model.eval()


@torch.no_grad()
def count_correct(model: RepVGG, split: Split, *, mean: float, std: float) -> int:
    logits = model((split.images.float() / 255 - mean) / std)
    return int((logits.argmax(1) == split.labels).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo checkpoint on the digits.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="output folder")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)  # the initial weights; batches and augmentation have a generator

    training, calibration, test = load_splits()
    mean, std = mean_and_std(training.images)
    model = RepVGG(DIGITS)
    print(f"{DIGITS.name}: {sum(p.numel() for p in model.parameters())} parameters", flush=True)

    started = time.perf_counter()
    train(model, training, mean=mean, std=std, epochs=arguments.epochs)
    seconds = time.perf_counter() - started

    def accuracy(split: Split) -> dict[str, float]:
        correct, total = count_correct(model, split, mean=mean, std=std), len(split.labels)
        return {"correct": correct, "total": total, "accuracy": round(correct / total, 4)}

    record = {
        "data": "scikit-learn load_digits, 8x8 counts scaled to 0..255, bilinear to 32x32",
        "splits": {
            "train": len(training.labels),
            "calibration": len(calibration.labels),
            "test": len(test.labels),
        },
        "preprocessing": "(x / 255 - mean) / std, x the uint8 pixels",
        "mean": mean,
        "std": std,
        "architecture": asdict(DIGITS),
        "bn_eps": model.eps,
        "seed": SEED,
        "epochs": arguments.epochs,
        "optimizer": {
            "name": "AdamW",
            "batch": BATCH,
            "peak_learning_rate": PEAK_LEARNING_RATE,
            "schedule": "one cycle: 10 % warm-up, then cosine",
            "weight_decay": WEIGHT_DECAY,
            "label_smoothing": LABEL_SMOOTHING,
        },
        "augmentation": {
            "rotation_degrees": ROTATION_DEGREES,
            "zoom": ZOOM,
            "shift_pixels": SHIFT_PIXELS,
        },
        "results_float32_unfused": {"train": accuracy(training), "test": accuracy(test)},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "machine": f"{os.cpu_count()}-core {platform.machine().replace('_', '-')}, CPU only",
        "threads": arguments.threads,
        "train_seconds": round(seconds),
        "date": date.today().isoformat(),
    }

    # All four files are complete before the first one replaces an older one.
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".new-") as folder:
        new = Path(folder)
        torch.save(model.state_dict(), new / "digits-repvgg.pth")
        np.savez_compressed(new / "calibration.npz", images=calibration.images.numpy())
        np.savez_compressed(
            new / "test.npz", images=test.images.numpy(), labels=test.labels.numpy()
        )
        (new / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        for path in sorted(new.iterdir()):
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
            path.replace(arguments.out / path.name)
    print(json.dumps(record["results_float32_unfused"]))


if __name__ == "__main__":
    main()
