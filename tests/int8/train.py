"""Train the networks that INT8 is measured on, and keep them beside this file.

    PYTHONPATH=tests python tests/int8/train.py repvgg|mixed

Writes to `--out`:

    NAME.safetensors   the state_dict in train form: convolutions and classifier in float16, the
                       BatchNorms in float32
    NAME.json          how it was trained, and what the stored weights score

Nothing was tuned on the test images: they are scored once, after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from int8.shapes import MEAN, SIZE, STD, draw_shapes, standardised
from int8.trained import NETWORKS, TEST, TRAINING, build

BATCH = 128
PEAK_LEARNING_RATE = 0.1
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
WARM_UP = 0.05  # of all steps


def train(model: nn.Module, images: Tensor, labels: Tensor, *, epochs: int, seed: int) -> None:
    """SGD with a short warm-up and a cosine to zero; `model` ends in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(
        groups, PEAK_LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    batches = len(images) // BATCH
    total = epochs * batches

    def rate(step: int) -> float:
        if step < WARM_UP * total:
            return (step + 1) / (WARM_UP * total)
        return 0.5 * (1 + math.cos(math.pi * (step / total - WARM_UP) / (1 - WARM_UP)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    started = time.perf_counter()
    model.train()
    for epoch in range(1, epochs + 1):
        summed, correct = 0.0, 0
        order = torch.randperm(len(images), generator=generator)[: batches * BATCH]
        for number, batch in enumerate(order.chunk(batches), start=1):
            logits = model(images[batch])
            loss = functional.cross_entropy(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            summed += loss.item() * len(batch)
            correct += int((logits.argmax(1) == labels[batch]).sum())
            if number % 50 == 0:
                print(f"  {number}/{batches} {time.perf_counter() - started:.0f} s", flush=True)
        print(
            f"epoch {epoch:2}/{epochs}  loss {summed / len(order):.4f}  train "
            f"{correct / len(order):.2%}  {time.perf_counter() - started:.0f} s",
            flush=True,
        )
    model.eval()


@torch.no_grad()
def count_correct(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    parts = zip(torch.split(images, 500), torch.split(labels, 500), strict=True)
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in parts)


def stored_as(name: str, value: Tensor) -> Tensor:
    """Weights that are products' factors in float16; BatchNorms as they are."""
    return value.half() if value.ndim > 1 else value


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a network that INT8 is measured on.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "networks")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=20261128, help="of weights and batches")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    model = build(arguments.network)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)

    drawn = draw_shapes(TRAINING.images, seed=TRAINING.seed)
    images, labels = torch.from_numpy(standardised(drawn.images)), torch.from_numpy(drawn.labels)
    started = time.perf_counter()
    train(model, images, labels, epochs=arguments.epochs, seed=arguments.seed)
    seconds = time.perf_counter() - started

    state = {name: stored_as(name, value) for name, value in model.state_dict().items()}
    model.load_state_dict({name: value.float() for name, value in state.items()})
    test = draw_shapes(TEST.images, seed=TEST.seed)
    correct = count_correct(
        model, torch.from_numpy(standardised(test.images)), torch.from_numpy(test.labels)
    )
    record = {
        "network": arguments.network,
        "data": f"int8/shapes.py, {SIZE}x{SIZE}, mean {MEAN} and std {STD}",
        "training": {"images": TRAINING.images, "seed": TRAINING.seed},
        "test": {"images": TEST.images, "seed": TEST.seed, "correct": correct},
        "top1_percent": round(100 * correct / TEST.images, 3),
        "stored": "float16 convolutions and classifier, float32 BatchNorms; scored as stored",
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "optimizer": {
            "name": "SGD, Nesterov",
            "batch": BATCH,
            "peak_learning_rate": PEAK_LEARNING_RATE,
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "schedule": f"{WARM_UP:.0%} warm-up, then cosine to zero",
        },
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": round(seconds),
        "threads": arguments.threads,
        "machine": f"{os.cpu_count()}-core {platform.machine().replace('_', '-')}, CPU only",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "date": date.today().isoformat(),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.out / f"{arguments.network}.safetensors"
    save_file(state, weights)
    (arguments.out / f"{arguments.network}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(f"{weights.name}: {weights.stat().st_size / 1000:.0f} kB, {record['top1_percent']} %")


if __name__ == "__main__":
    main()
