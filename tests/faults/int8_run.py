"""Plant faults in int8 files and packages, and verify each: a part of `make faults`.

A file is held to the Q/DQ graph that it should be, also as a package, and to the float network. A
fault that passes has slipped through; what it does to the answers is not asked: a wrong scale is
wrong where it hardly shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from faults.graph_reach import NoPlaceError
from faults.int8_faults import BESIDE_FLOAT, BESIDE_THE_GRAPH, planted
from faults.subjects import Subject, subjects
from numpy.typing import NDArray

from edgerep.artefacts.records import utc_now, versions_of
from edgerep.bench.parity.verification import verify
from edgerep.errors import EdgerepError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import read_model
from edgerep.export.precision.int8.recipe import quantise
from edgerep.fusion.fused import fuse
from zoo.quantised import Form, quantised, saved

Array = NDArray[Any]
NETWORKS = ("digits", "squeeze", "detector", "segmenter")
FORMS = ("plain", "recipe")
_CALIBRATION = 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """A file and what became of it.

    Attributes:
        kind: Of the fault; "" of a right file.
        subject: The network.
        form: "plain" or "recipe".
        beside: "graph", "graph, as a package" or "float".
        seed: That drew the place.
        passed: Whether `verify` passed it.
        how: What it said, where it did not.
    """

    kind: str
    subject: str
    form: str
    beside: str
    seed: int
    passed: bool
    how: str


@dataclass(frozen=True, eq=False)
class Honest:
    """A network as float and as int8, and its images."""

    subject: str
    form: str
    float_file: Path
    graph: Path
    images: Array


def honest(subject: Subject, folder: Path, forms: Sequence[str] = FORMS) -> Iterator[Honest]:
    """Its float graph, quantised plainly and by the recipe."""
    images = _floats(subject)
    file = folder / f"{subject.name}.onnx"
    shown = np.zeros((2, *images.shape[1:]), np.float32)
    fused = fuse(subject.network, inputs=torch.from_numpy(shown), certify=False)
    export_onnx(fused, file, size=subject.size)
    model = onnx.load(file)
    make: dict[str, Callable[[], onnx.ModelProto]] = {
        "plain": lambda: quantised(model, images, Form()),
        "recipe": lambda: quantise(model, images, batch=1)[0],
    }
    for form in forms:
        one = make[form]()
        graph = saved(folder / f"{subject.name}-{form}.onnx", one)
        yield Honest(subject.name, form, file, graph, images)


def _floats(subject: Subject) -> Array:
    """Images as the network itself takes them: those of the subject and turns of these."""
    images = subject.images
    if not subject.preprocessing.is_identity:
        images = subject.preprocessing.apply(images)
    turns = [np.roll(np.flip(images, axis), shift, -1) for axis in (2, 3) for shift in (0, 3, 5)]
    return np.concatenate([images, *turns])[:_CALIBRATION].astype(np.float32)


def judge(reference: Path, file: Path, images: Array) -> tuple[bool, str]:
    """Whether `verify` passes a file, and what it says where it does not."""
    try:
        verify(reference, [file], calibration=images[:16]).require()
        return True, ""
    except EdgerepError as error:
        return False, str(error).replace(str(file.parent), "")[:160]


def run(
    chosen: Sequence[Subject],
    kinds: Sequence[str],
    seeds: Sequence[int],
    *,
    forms: Sequence[str] = FORMS,
    say: Any = lambda words: None,
) -> list[Verdict]:
    """Plant and verify; the same for the same arguments."""
    found: list[Verdict] = []
    for subject in chosen:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for one in honest(subject, folder, forms):
                found += _verdicts(one, "", 0, one.graph, folder)
                model = read_model(one.graph)
                for kind in kinds:
                    for seed in seeds:
                        try:
                            faulty = planted(model, BESIDE_THE_GRAPH[kind], seed)
                        except NoPlaceError:
                            continue
                        away = folder / "planted"
                        away.mkdir(exist_ok=True)
                        file = saved(away / "faulty.onnx", faulty)
                        found += _verdicts(one, kind, seed, file, away)
                say(f"{one.subject}, {one.form}: {len(found)} files")
    return found


def _verdicts(one: Honest, kind: str, seed: int, file: Path, folder: Path) -> Iterator[Verdict]:
    package = folder / "faulty.mlpackage"
    files = [("graph", one.graph, file)]
    with contextlib.suppress(EdgerepError):  # the fault cannot be written as a package
        files.append(("graph, as a package", one.graph, export_coreml(file, package).path))
    if not kind or kind in BESIDE_FLOAT:
        files.append(("float", one.float_file, file))
    for beside, reference, artefact in files:
        passed, how = judge(reference, artefact, one.images)
        yield Verdict(kind, one.subject, one.form, beside, seed, passed, how)


def summary(found: Sequence[Verdict]) -> dict[str, Any]:
    """Counts, over all and by kind and by what a file was held to."""
    faults = [one for one in found if one.kind]
    rights = [one for one in found if not one.kind]
    besides = list(dict.fromkeys(one.beside for one in faults))

    def count(kind: str, beside: str) -> list[int]:
        some = [one for one in faults if one.kind == kind and one.beside == beside]
        return [len(some), sum(not one.passed for one in some)]

    return {
        "planted": len(faults),
        "caught": sum(not one.passed for one in faults),
        "right": len(rights),
        "right_refused": sum(not one.passed for one in rights),
        "by_kind": {
            kind: {beside: count(kind, beside) for beside in besides}
            for kind in dict.fromkeys(one.kind for one in faults)
        },
    }


def table(result: Mapping[str, Any]) -> str:
    """The table of docs/checks.md: of each kind how many were planted and caught."""
    besides = ("graph", "graph, as a package", "float")
    rows = [
        "| kind of fault | caught beside its graph | as a package | beside the float network |",
        "|---|--:|--:|--:|",
    ]
    for kind, counts in result["by_kind"].items():
        cells = [counts.get(beside, [0, 0]) for beside in besides]
        shown = [f"{caught} of {count}" if count else "-" for count, caught in cells]
        rows.append(f"| {kind} | {' | '.join(shown)} |")
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--seeds", type=int, default=2, help="places for each kind")
    parser.add_argument("--subject", action="append", help="only these networks")
    given = parser.parse_args(arguments)
    started = time.process_time()
    names = given.subject or NETWORKS
    chosen = [subject for subject in subjects() if subject.name in names]

    def say(words: str) -> None:
        sys.stderr.write(f"{time.process_time() - started:7.0f}s  {words}\n")

    found = run(chosen, [*BESIDE_THE_GRAPH], range(given.seeds), say=say)
    result = summary(found)
    wrong = [one for one in found if one.passed == bool(one.kind)]
    text = {
        "schema": 1,
        "made": utc_now(),
        "versions": versions_of(("torch", "onnx", "onnxruntime", "coremltools", "numpy")),
        "cpu_seconds": round(time.process_time() - started),
        **result,
        "wrong": [asdict(one) for one in wrong],
    }
    given.out.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    for one in wrong:
        say(f"{'SLIPPED' if one.kind else 'WRONGLY REFUSED'}: {one}")
    say(f"{result['caught']} of {result['planted']} caught, "
        f"{result['right_refused']} of {result['right']} right files refused")  # fmt: skip
    sys.stdout.write(table(result) + "\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
