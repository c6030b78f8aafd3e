"""Damaged files by number: which good file, how it is damaged, and the command that reads it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damaged import damage

Damage = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged file, and what is done with it.

    Attributes:
        name: The kind of file and the number.
        kind: Of the table below.
        words: The command line.
        file: The damaged file.
    """

    name: str
    kind: str
    words: tuple[str, ...]
    file: Path


def make_case(number: int, seed: int, corpus: Path, folder: Path) -> Case:
    """Write a damaged file into an empty folder.

    Args:
        number: Of the case: the same number and seed give the same file.
        seed: Of all cases.
        corpus: The good files.
        folder: Where the damaged one goes, and whatever is made of it.
    """
    draw = random.Random(f"{seed} {number}")
    kinds = list(_KINDS)
    kind = kinds[number % len(kinds)]
    file, words = _KINDS[kind](draw, corpus, folder)
    return Case(f"{kind} {number}", kind, tuple(map(str, words)), file)


def _written(
    draw: random.Random, corpus: Path, folder: Path, name: str, damages: Sequence[Damage]
) -> Path:
    """A file of the corpus, damaged, with its record, which fits it in half of the cases."""
    source = corpus / name
    path = folder / f"damaged{source.suffix}"
    if draw.random() < 0.03:
        return _no_file(draw, path)
    content = draw.choice(damages)(draw, source.read_bytes())
    path.write_bytes(content)
    record = source.with_name(source.name + ".json")
    if record.exists() and draw.random() < 0.5:
        _record_for(path, record)
    return path


def _no_file(draw: random.Random, path: Path) -> Path:
    """What is no regular file in the place of one."""
    match draw.randrange(5):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.touch()
        case _:
            with path.open("wb") as stream:
                stream.truncate(draw.choice((1 << 20, 1 << 42)))
    return path


def _record_for(path: Path, record: Path) -> None:
    """A record that fits: readers go on to what is inside."""
    import json

    from edgerep.artefacts.files import sha256_of

    fields = json.loads(record.read_text())
    fields["sha256"] = sha256_of(path)
    path.with_name(path.name + ".json").write_text(json.dumps(fields))


def _torch_member(draw: random.Random, name: str, content: bytes) -> bytes:
    if name.endswith(".pkl"):
        return damage.damage_pickle(draw, content)
    return damage.damage_bytes(draw, content)


def _array_member(draw: random.Random, name: str, content: bytes) -> bytes:
    return damage.damage_array(draw, content)


def _torch_zip(draw: random.Random, content: bytes) -> bytes:
    return damage.damage_zip(draw, content, _torch_member)


def _array_zip(draw: random.Random, content: bytes) -> bytes:
    return damage.damage_zip(draw, content, _array_member)


def _old_stream(draw: random.Random, content: bytes) -> bytes:
    """The third pickle of a stream from before torch 1.6, damaged by its operations."""
    import io
    import pickletools

    stream = io.BytesIO(content)
    ends = []
    for _ in range(4):
        for _ in pickletools.genops(stream):
            pass
        ends.append(stream.tell())
    body = damage.damage_pickle(draw, content[ends[1] : ends[3]])
    return content[: ends[1]] + body + content[ends[3] :]


def _checkpoint(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name, damages = draw.choice(
        [
            ("net.pth", [_torch_zip, _torch_zip, damage.damage_bytes, damage.damage_directory]),
            ("settings.pth", [_torch_zip]),
            ("old.pth", [_old_stream, _old_stream, damage.damage_bytes]),
            ("fused.safetensors", [damage.damage_safetensors, damage.damage_bytes]),
        ]
    )
    path = _written(draw, corpus, folder, name, damages)
    commands: list[Sequence[Any]] = [("inspect", path)] * 3
    commands += [("fuse", path, "-o", folder / "out.safetensors")]
    commands += [("verify", path, corpus / "net.onnx")]
    return path, draw.choice(commands)


def _damaged_onnx(draw: random.Random, content: bytes) -> bytes:
    import onnx

    model = onnx.ModelProto.FromString(content)
    note = next((prop for prop in model.metadata_props if prop.key == "edgerep"), None)
    if note is not None and draw.random() < 0.2:
        note.value = damage.damage_json(draw, note.value.encode()).decode()
    else:
        damage.damage_message(draw, model)
    return model.SerializeToString()


def _onnx(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name = draw.choice(("net.onnx", "net.onnx", "outside.onnx"))
    if name == "outside.onnx":
        data = (corpus / "outside.data").read_bytes()
        damaged = damage.damage_bytes(draw, data) if draw.random() < 0.3 else data
        (folder / "outside.data").write_bytes(damaged)
    damages = [_damaged_onnx] * 5 + [damage.damage_bytes]
    path = _written(draw, corpus, folder, name, damages)
    commands: list[Sequence[Any]] = [("inspect", path)] * 3
    commands += [("verify", corpus / "net.pth", path)] * 2
    commands += [("verify", path, corpus / "net.onnx")]
    commands += [("export-onnx", path, "-o", folder / "out.onnx", "--precision", "fp16")]
    commands += [("export-coreml", path, "-o", folder / "out.mlpackage")]
    return path, draw.choice(commands)


def _package(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    source = corpus / draw.choice(("net.mlpackage", "net.mlpackage", "classifier.mlpackage"))
    path = folder / "damaged.mlpackage"
    shutil.copytree(source, path)
    manifest = path / "Manifest.json"
    model = path / "Data/com.apple.CoreML/model.mlmodel"
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    match draw.randrange(9):
        case 0:
            manifest.write_bytes(damage.damage_json(draw, manifest.read_bytes()))
        case 1:
            file = draw.choice((manifest, model, weights))
            file.write_bytes(damage.damage_bytes(draw, file.read_bytes()))
        case 2:
            file = draw.choice((manifest, model, weights))
            file.unlink()
            _no_file(draw, file)
        case _:
            model.write_bytes(_damaged_model(draw, model.read_bytes()))
    record = source.with_name(source.name + ".json")
    if draw.random() < 0.3 and not any(p.is_symlink() or p.is_fifo() for p in path.rglob("*")):
        from edgerep.errors import EdgerepError

        with contextlib.suppress(EdgerepError):  # a file of terabytes
            _record_for(path, record)
    commands: list[Sequence[Any]] = [("inspect", path)] * 2
    commands += [("verify", corpus / "net.pth", path)] * 2
    return path, draw.choice(commands)


def _damaged_model(draw: random.Random, content: bytes) -> bytes:
    from edgerep.export.coreml.messages import model_message

    spec = model_message().FromString(content)
    notes = spec.description.metadata.userDefined
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    match draw.randrange(6):
        case 0:
            note = damage.damage_json(draw, notes["edgerep.note"].encode())
            notes["edgerep.note"] = note.decode()
        case 1:
            damage.damage_message(draw, spec.description)
        case 2 | 3 | 4:
            damage.damage_message(draw, draw.choice(block.operations))
        case _:
            damage.damage_message(draw, spec)
    return bytes(spec.SerializeToString())


def _engine(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name = draw.choice(("net.engine", "noted.engine"))
    path = _written(draw, corpus, folder, name, [damage.damage_bytes])
    commands: list[Sequence[Any]] = [("inspect", path), ("verify", corpus / "net.pth", path)]
    return path, draw.choice(commands)


def _record(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name = draw.choice(("net.onnx", "net.engine", "fused.safetensors", "net.mlpackage"))
    artefact = folder / f"damaged{Path(name).suffix}"
    source = corpus / name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, artefact)
    record = (corpus / f"{name}.json").read_bytes()
    path = artefact.with_name(artefact.name + ".json")
    if draw.random() < 0.05:
        _no_file(draw, path)
    else:
        damages: Sequence[Damage] = [damage.damage_json] * 4 + [damage.damage_bytes]
        path.write_bytes(draw.choice(damages)(draw, record))
    commands: list[Sequence[Any]] = [("inspect", artefact)] * 3
    if artefact.suffix != ".safetensors":
        commands += [("verify", corpus / "net.pth", artefact)]
    return artefact, draw.choice(commands)


def _images(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name, damages = draw.choice(
        [
            ("images.npz", [_array_zip, _array_zip, damage.damage_directory]),
            ("packed.npz", [_array_zip, damage.damage_bytes]),
            ("images.npy", [damage.damage_array, damage.damage_array, damage.damage_bytes]),
        ]
    )
    path = _written(draw, corpus, folder, name, damages)
    return path, ("verify", corpus / "net.pth", corpus / "net.onnx", "--calibration", path)


def _labels(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name, damages = draw.choice(
        [("labels.txt", [damage.damage_bytes]), ("labels.json", [damage.damage_json])]
    )
    path = _written(draw, corpus, folder, name, damages)
    output = folder / "out.mlpackage"
    return path, ("export-coreml", corpus / "single.onnx", "-o", output, "--labels", path)


def _result(draw: random.Random, corpus: Path, folder: Path) -> tuple[Path, Sequence[Any]]:
    name = draw.choice(("deploy", "deploy", "bench", "fuse", "verify"))
    damages: Sequence[Damage] = [damage.damage_json] * 6 + [damage.damage_bytes]
    path = _written(draw, corpus, folder, f"{name}.result.json", damages)
    return path, ("report", path, "-o", folder / "out.html")


# In turn; what is read in most ways, and damaged in most, comes more often.
_KINDS: dict[str, Callable[[random.Random, Path, Path], tuple[Path, Sequence[Any]]]] = {
    "checkpoint": _checkpoint,
    "ONNX file": _onnx,
    "package": _package,
    "result": _result,
    "record": _record,
    "images": _images,
    "checkpoint again": _checkpoint,
    "ONNX file again": _onnx,
    "package again": _package,
    "engine": _engine,
    "result again": _result,
    "labels": _labels,
}
