"""A package is read from where it says, from inside itself, as it was written; and only read."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgerep.artefacts.records import record_path
from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import CoremlError, EdgerepError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import open_package, read_spec
from edgerep.export.from_torch.onnx_export import export_onnx

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights"
IMAGE = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(self.conv(x).relu().mean((2, 3)))
        return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    graph = export_onnx(Net().eval(), folder / "net.onnx", size=8)
    return export_coreml(graph, folder / "net.mlpackage", labels=list("abcd")).path


@pytest.fixture
def package(made: Path, tmp_path: Path) -> Path:
    """A copy of one's own, without its record."""
    return Path(shutil.copytree(made, tmp_path / made.name))


def rewrite(package: Path, change: Callable[[Any], object]) -> None:
    spec = read_spec(package)
    change(spec)
    (package / MODEL).write_bytes(spec.SerializeToString())


def blobs_of(spec: Any) -> list[Any]:
    function = spec.mlProgram.functions["main"]
    values = (
        op.attributes["val"]
        for op in function.block_specializations[function.opset].operations
        if op.type == "const"
    )
    return [value.blobFileValue for value in values if value.HasField("blobFileValue")]


def name_blobs(package: Path, name: str) -> None:
    def change(spec: Any) -> None:
        for blob in blobs_of(spec):
            blob.fileName = name

    rewrite(package, change)


def test_weights_are_read_from_where_the_program_says(package: Path) -> None:
    right = MilReferenceSession(package).run(IMAGE)[0]
    shutil.copytree(package / WEIGHTS, package / "Data/com.apple.CoreML/other")
    offset = blobs_of(read_spec(package))[0].offset
    file = package / "Data/com.apple.CoreML/other/weight.bin"
    content = bytearray(file.read_bytes())
    _, _, size, start = struct.unpack("<IIQQ", content[offset : offset + 24])
    content[start : start + size] = bytes(size)
    file.write_bytes(content)
    name_blobs(package, "@model_path/other/weight.bin")
    assert not np.allclose(MilReferenceSession(package).run(IMAGE)[0], right, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "@model_path/../../../outside.bin",
        "@model_path//etc/passwd",
        "/etc/passwd",
        "weights/weight.bin",
        "@model_path/weights/none.bin",
        "@model_path/weights",
        "",
    ],
)
def test_weights_outside_or_missing_are_refused(package: Path, name: str) -> None:
    shutil.copy(package / WEIGHTS / "weight.bin", package.parent / "outside.bin")
    name_blobs(package, name)
    for read in (open_package, MilReferenceSession):
        with pytest.raises(CoremlError, match=r"net\.mlpackage"):
            read(package)


def test_a_link_out_of_the_package_is_refused(package: Path) -> None:
    weights = package / WEIGHTS / "weight.bin"
    weights.rename(package.parent / "outside.bin")
    weights.symlink_to(package.parent / "outside.bin")
    with pytest.raises(CoremlError, match="leads out of the package"):
        open_package(package)


def test_the_model_is_the_one_that_the_manifest_names(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
    shutil.copytree(package / "Data/com.apple.CoreML", package / "Data/other")
    (package / MODEL).write_bytes(b"not read")
    entry["path"] = "other/model.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))
    assert open_package(package).labels == tuple("abcd")
    entry["path"] = "../../net.mlpackage/Data/other/model.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CoremlError, match="leads out of the package"):
        open_package(package)


def swap_labels(spec: Any) -> None:
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    classify = next(op for op in block.operations if op.type == "classify")
    values = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
    first, second = (values[i].immediateValue.tensor.strings.values for i in (0, 1))
    first[0], second[0] = second[0], first[0]


def half_precision(spec: Any) -> None:
    spec.description.input[0].type.multiArrayType.dataType = 65552


def wider(spec: Any) -> None:
    spec.description.input[0].type.multiArrayType.shape[3] = 16


def other_prediction(spec: Any) -> None:
    spec.description.predictedFeatureName = spec.description.predictedProbabilitiesName


@pytest.mark.parametrize(("change", "says"), [
    (half_precision, "as float16, and its program takes float32"),
    (wider, r"as \[1, 3, 8, 16\], and its program takes \[1, 3, 8, 8\]"),
    (other_prediction, "as label and probabilities, and its program gives"),
])  # fmt: skip
def test_a_package_declared_otherwise_than_its_program_is_refused(
    package: Path, change: Callable[[Any], None], says: str
) -> None:
    """Core ML would refuse it on the device, or name the wrong output."""
    rewrite(package, change)
    with pytest.raises(CoremlError, match=says):
        open_package(package)


def test_an_image_of_another_size_than_the_program_takes_is_refused(tmp_path: Path) -> None:
    pixels = Preprocessing("uint8", (0.5,), (0.5,))
    graph = export_onnx(Net().eval(), tmp_path / "p.onnx", size=8, preprocessing=pixels)
    package = export_coreml(graph, tmp_path / "p.mlpackage", image_input=True).path
    record_path(package).unlink()
    rewrite(package, lambda spec: setattr(spec.description.input[0].type.imageType, "width", 16))
    with pytest.raises(CoremlError, match=r"as \[3, 8, 16\], and its program takes \[3, 8, 8\]"):
        open_package(package)


def test_a_constant_that_nothing_reads_says_nothing_of_the_precision(package: Path) -> None:
    def pad(spec: Any) -> None:
        function = spec.mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        op = next(op for op in block.operations if op.type == "const")
        extra = block.operations.add()
        extra.CopyFrom(op)
        extra.outputs[0].name = "unread"
        kind = extra.attributes["val"].type.tensorType
        kind.dataType = 10
        del kind.dimensions[:]
        kind.dimensions.add().constant.size = 1 << 20

    rewrite(package, pad)
    assert open_package(package).precision == "fp32"


def test_labels_that_were_swapped_are_refused(package: Path) -> None:
    rewrite(package, swap_labels)
    with pytest.raises(CoremlError, match="its labels are no longer those of its note"):
        open_package(package)


def test_a_package_changed_after_its_record_was_written_is_refused(
    made: Path, package: Path
) -> None:
    shutil.copy(record_path(made), record_path(package))
    open_package(package)
    rewrite(package, lambda spec: setattr(spec.description.metadata, "author", "somebody"))
    with pytest.raises(EdgerepError, match="describes another file"):
        open_package(package)


def test_reading_writes_nothing(package: Path) -> None:
    def state() -> dict[Path, tuple[int, int, bytes]]:
        found = {}
        for path in sorted(package.parent.rglob("*")):
            stat = os.stat(path)
            found[path] = (
                stat.st_ino,
                stat.st_mtime_ns,
                b"" if path.is_dir() else path.read_bytes(),
            )
        return found

    before = state()
    open_package(package)
    MilReferenceSession(package).run(IMAGE)
    assert state() == before
