"""Plant faults, verify each file, and tell which slipped through: `make faults`.

Of every planted file two things are found out, apart from each other: whether it moves an output
of the network beyond the tolerance on any of the given images (`measuring`), and whether
`edgerep.verify` finds it wrong or refuses it. What moves and passes has slipped through.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from faults.artefacts import Honest, honest_graphs, honest_packages, more_graphs
from faults.graph_faults import GRAPH_FAULTS, planted
from faults.graph_reach import NoPlaceError
from faults.measuring import Bounds, Moved, measure
from faults.package_faults import PACKAGE_FAULTS, plant_in_package
from faults.subjects import Subject, subjects

from edgerep.artefacts.records import record_path, utc_now, versions_of
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.verification import verify
from edgerep.errors import EdgerepError
from edgerep.export.coreml.conversion import export_coreml

# Of the graph faults that are converted to a package as well: one in so many.
_CONVERTED = 5
_AT_ONCE = 12  # files that are verified together: the reference runs once for all


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted fault and what became of it.

    Attributes:
        kind: A key of the tables of faults.
        subject: The network.
        form: "fused", "unfused", "package", ...
        precision: "fp32" or "fp16".
        seed: That drew the place.
        moved: Whether it moves an output beyond the tolerance on any given image.
        worst: The largest error of any image over its bound; None for no answer at all.
        caught: Whether `verify` found it wrong or refused it.
        how: What `verify` said: "parity", or the refusal's first words.
    """

    kind: str
    subject: str
    form: str
    precision: str
    seed: int
    moved: bool
    worst: float | None
    caught: bool
    how: str


@dataclass(frozen=True, slots=True)
class Right:
    """One right file and the verdict on it."""

    subject: str
    words: str
    precision: str
    passed: bool
    how: str


@dataclass(frozen=True, eq=False)
class _File:
    """A file to be verified; `honest` is the right one that it was made from."""

    path: Path
    kind: str
    honest: Honest
    seed: int


def judge(subject: Subject, paths: Sequence[Path]) -> list[tuple[bool, str, ArtefactParity | None]]:
    """The verdict on each file: whether it passed, in words, and its parity if it was compared."""
    try:
        report = verify(subject.network, list(paths), calibration=subject.images)
        return [
            (found.passed is True, "parity" if found.ran else "not run", found)
            for found in report.artefacts
        ]
    except EdgerepError as error:
        if len(paths) == 1:
            words = str(error).replace(str(paths[0].parent), "").strip()
            return [(False, f"{type(error).__name__}: {words[:80]}", None)]
        return [verdict for path in paths for verdict in judge(subject, [path])]


def bounds_of(parity: ArtefactParity) -> Bounds:
    """The tolerances of each output of a right file, by name."""
    return {
        output.name: (output.tolerance.rel_l2, output.tolerance.max_abs)
        for output in parity.outputs
        if output.tolerance is not None
    }


def plant_graphs(
    honest: Honest, kinds: Iterable[str], seeds: Iterable[int], folder: Path
) -> Iterator[_File]:
    """Files with one fault each, in ONNX."""
    model = onnx.load(honest.artefact.path)
    for kind in kinds:
        for seed in seeds:
            try:
                faulty = planted(model, kind, seed)
            except NoPlaceError:
                continue
            path = folder / f"{len(list(folder.iterdir()))}.onnx"
            path.write_bytes(faulty.SerializeToString())
            yield _File(path, kind, honest, seed)


def plant_packages(
    honest: Honest,
    graphs: Sequence[_File],
    kinds: Iterable[str],
    seeds: Iterable[int],
    folder: Path,
) -> Iterator[_File]:
    """Packages with one fault each: in their own files, or in the graph they are made from."""
    for kind in kinds:
        for seed in seeds:
            path = folder / f"{len(list(folder.iterdir()))}.mlpackage"
            try:
                plant_in_package(honest.artefact.path, path, kind, seed)
            except NoPlaceError:
                continue
            yield _File(path, kind, honest, seed)
    if honest.words != "package":
        return
    for graph in graphs[::_CONVERTED]:
        path = folder / f"{len(list(folder.iterdir()))}.mlpackage"
        try:
            export_coreml(graph.path, path)
        except EdgerepError:  # the fault cannot be written as a package
            continue
        record_path(path).unlink()
        yield _File(path, graph.kind, honest, graph.seed)


def verdicts(files: Sequence[_File], bounds: Bounds) -> Iterator[Planted]:
    """What became of files that were made from one right file."""
    for start in range(0, len(files), _AT_ONCE):
        some = files[start : start + _AT_ONCE]
        subject = some[0].honest.subject
        for file, (passed, how, _) in zip(
            some, judge(subject, [f.path for f in some]), strict=True
        ):
            truth = truth_of(file.honest)
            sizes = (1,) if file.honest.artefact.batch.largest == 1 else (1, 3)
            found: Moved = measure(file.path, subject.images, truth, bounds, sizes)
            moved = found.beyond or "labels" in file.kind
            worst = found.worst if np.isfinite(found.worst) else None
            yield Planted(
                file.kind, subject.name, file.honest.words, file.honest.precision, file.seed,
                moved, worst, not passed, how,
            )  # fmt: skip


def truth_of(honest: Honest) -> Sequence[np.ndarray[Any, Any]]:
    """The network's answers in float64; of a labelled package, as probabilities."""
    if honest.words != "labelled package":
        return honest.subject.truth
    logits = honest.subject.truth[0]
    exact = np.exp(logits - logits.max(1, keepdims=True))
    return (exact / exact.sum(1, keepdims=True),)


def run(
    chosen: Sequence[Subject],
    graph_kinds: Sequence[str],
    package_kinds: Sequence[str],
    seeds: Sequence[int],
    *,
    forms: int = 2,
    more: bool = True,
    say: Any = lambda words: None,
) -> tuple[list[Planted], list[Right]]:
    """Plant, verify and measure; the same for the same arguments."""
    faults: list[Planted] = []
    rights: list[Right] = []
    for subject in chosen:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            graphs = list(honest_graphs(subject, folder, forms=forms))
            others = [more_graphs(graph, folder) for graph in graphs] if more else []
            packages = [p for g in graphs[:2] if package_kinds for p in honest_packages(g, folder)]
            honest = [*graphs, *packages, *(one for some in others for one in some)]
            parities: dict[int, ArtefactParity] = {}
            for one in honest:
                ((passed, how, parity),) = judge(subject, [one.artefact.path])
                rights.append(Right(subject.name, one.words, one.precision, passed, how))
                if parity is not None:
                    parities[id(one)] = parity
            say(f"{subject.name}: {len(honest)} right files")
            planted_in: dict[str, list[_File]] = {}
            for index, one in enumerate([*graphs, *packages]):
                place_of = folder / f"planted{index}"
                place_of.mkdir()
                if one.artefact.path.suffix == ".onnx":
                    files = list(plant_graphs(one, graph_kinds, seeds, place_of))
                    if one.words == "fused":
                        planted_in[one.precision] = files
                else:
                    sources = planted_in.get(one.precision, [])
                    files = list(plant_packages(one, sources, package_kinds, seeds, place_of))
                if id(one) in parities:
                    faults += verdicts(files, bounds_of(parities[id(one)]))
                if one.words not in ("fused",):
                    shutil.rmtree(place_of)
                say(f"{subject.name}, {one.words}, {one.precision}: {len(files)} planted")
    return faults, rights


def summary(faults: Sequence[Planted], rights: Sequence[Right]) -> dict[str, Any]:
    """Counts, over all and by kind."""

    def count(some: Sequence[Planted]) -> dict[str, int]:
        return {
            "planted": len(some),
            "moved": sum(f.moved for f in some),
            "moved_and_caught": sum(f.moved and f.caught for f in some),
            "caught": sum(f.caught for f in some),
        }

    kinds = sorted({fault.kind for fault in faults})
    return {
        **count(faults),
        "kinds": len(kinds),
        "right": len(rights),
        "right_refused": sum(not right.passed for right in rights),
        "by_kind": {kind: count([f for f in faults if f.kind == kind]) for kind in kinds},
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--seeds", type=int, default=1, help="places for each kind")
    parser.add_argument("--subject", action="append", help="only these networks")
    given = parser.parse_args(arguments)
    started = time.process_time()
    chosen = [s for s in subjects() if not given.subject or s.name in given.subject]

    def say(words: str) -> None:
        sys.stderr.write(f"{time.process_time() - started:7.0f}s  {words}\n")

    faults, rights = run(chosen, [*GRAPH_FAULTS], [*PACKAGE_FAULTS], range(given.seeds), say=say)
    found = summary(faults, rights)
    slipped = [fault for fault in faults if fault.moved and not fault.caught]
    text = {
        "schema": 1,
        "made": utc_now(),
        "versions": versions_of(("torch", "onnx", "onnxruntime", "coremltools", "numpy")),
        "cpu_seconds": round(time.process_time() - started),
        **found,
        "slipped": [asdict(fault) for fault in slipped],
        "wrongly_refused": [asdict(right) for right in rights if not right.passed],
        "faults": [asdict(fault) for fault in faults],
        "right_files": [asdict(right) for right in rights],
    }
    given.out.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    for fault in slipped:
        say(f"SLIPPED: {fault}")
    for right in rights:
        if not right.passed:
            say(f"WRONGLY REFUSED: {right}")
    say(", ".join(f"{key} {value}" for key, value in found.items() if key != "by_kind"))
    return int(bool(slipped) or bool(found["right_refused"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
