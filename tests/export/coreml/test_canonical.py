"""The same graph gives the same package to the byte, and a package is what it says of itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.files import sha256_of
from edgerep.errors import CoremlError, EdgerepError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.messages import model_message
from edgerep.export.coreml.package import open_package
from edgerep.export.coreml.package_files import model_file

ROOT = Path(__file__).parents[3]
LABELS = ("cat", "dog", "horse", "cow")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions, a mean and four numbers."""
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "v": (4, 8, 1, 1)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [image], [result], weights),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=10,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("graph") / "g.onnx"
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def packages(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    export_coreml(graph, folder / "plain.mlpackage")
    export_coreml(graph, folder / "classifier.mlpackage", labels=LABELS)
    return {path.stem: path for path in folder.glob("*.mlpackage")}


def test_another_process_makes_the_same_bytes_in_another_folder(
    graph: Path, packages: dict[str, Path], tmp_path: Path
) -> None:
    code = (
        "import sys; from edgerep.export.coreml.conversion import export_coreml\n"
        f"export_coreml(sys.argv[1], sys.argv[2], labels={LABELS!r})"
    )
    again = tmp_path / "elsewhere" / "another.mlpackage"
    subprocess.run(
        [sys.executable, "-c", code, graph, again], check=True, cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert sha256_of(again) == sha256_of(packages["classifier"])
    assert open_package(again).labels == LABELS


def test_inspecting_a_package_imports_no_coremltools(packages: dict[str, Path]) -> None:
    code = (
        "import sys; from edgerep.export.coreml.package import open_package\n"
        "open_package(sys.argv[1])\n"
        "print([name for name in ('coremltools', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, packages["plain"]], check=True, cwd=ROOT,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def block(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def first(spec: Any, kind: str) -> Any:
    return next(op for op in block(spec).operations if op.type == kind)


def noted(text: str) -> Callable[[Any], object]:
    return lambda s: s.description.metadata.userDefined.__setitem__("edgerep.note", text)


UNSOUND: dict[str, tuple[str, Callable[[Any], object]]] = {
    "a newer version": ("plain", lambda s: setattr(s, "specificationVersion", 99)),
    "no inputs": ("plain", lambda s: s.description.ClearField("input")),
    "an input without a type": ("plain", lambda s: s.description.input[0].ClearField("type")),
    "an input without a shape": (
        "plain", lambda s: s.description.input[0].type.multiArrayType.ClearField("shape")
    ),
    "a huge input": (
        "plain", lambda s: s.description.input[0].type.multiArrayType.shape.append(1 << 40)
    ),
    "elements of no known type": (
        "plain", lambda s: setattr(s.description.input[0].type.multiArrayType, "dataType", 65600)
    ),
    "outputs of no known type": (
        "plain",
        lambda s: setattr(
            next(v for op in block(s).operations for v in op.outputs
                 if v.name == block(s).outputs[0]).type.tensorType, "dataType", 99,
        ),
    ),
    "another name of an input": ("plain", lambda s: setattr(s.description.input[0], "name", "zz")),
    "an unknown colour": (
        "plain", lambda s: setattr(s.description.input[0].type.imageType, "colorSpace", 77)
    ),
    "an output that nothing makes": ("plain", lambda s: block(s).outputs.__setitem__(0, "zz")),
    "no outputs": ("plain", lambda s: block(s).ClearField("outputs")),
    "no block": ("plain", lambda s: setattr(s.mlProgram.functions["main"], "opset", "zz")),
    "no function": ("plain", lambda s: s.mlProgram.functions.clear()),
    "a constant without a value": ("plain", lambda s: first(s, "const").attributes.clear()),
    "an operation without a name": ("plain", lambda s: setattr(first(s, "conv"), "type", "")),
    "an operation that gives nothing": ("plain", lambda s: first(s, "conv").ClearField("outputs")),
    "a blob beyond its file": (
        "plain",
        lambda s: setattr(
            next(v for op in block(s).operations for v in op.attributes.values()
                 if v.HasField("blobFileValue")).blobFileValue, "offset", 2**63,
        ),
    ),
    "a deep note": ("plain", noted("[" * 100_000 + "]" * 100_000)),
    "a note of another shape": ("plain", noted('{"pixels": 5}')),
    "a note without sources": ("plain", noted('{"made_from": null}')),
    "a classifier without classes": (
        "classifier", lambda s: first(s, "classify").inputs.__delitem__("classes")
    ),
    "a classifier without probabilities": (
        "classifier", lambda s: first(s, "classify").inputs.__delitem__("probabilities")
    ),
    "a label that is none": (
        "classifier",
        lambda s: first(s, "classify").inputs["classes"].arguments[0].value.immediateValue.list
        .values[0].immediateValue.tensor.strings.ClearField("values"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSOUND)
def test_a_model_that_is_not_what_is_read_is_refused_in_words(
    name: str, packages: dict[str, Path], tmp_path: Path
) -> None:
    stem, change = UNSOUND[name]
    path = tmp_path / "damaged.mlpackage"
    shutil.copytree(packages[stem], path)
    file = model_file(path)
    spec = model_message().FromString(file.read_bytes())
    change(spec)
    file.write_bytes(spec.SerializeToString())
    started = time.process_time()
    with pytest.raises(CoremlError, match=r"damaged\.mlpackage") as refusal:
        open_package(path)
    assert len(str(refusal.value)) < 2000
    assert time.process_time() - started < 20


def test_a_link_in_a_package_is_refused(packages: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "linked.mlpackage"
    shutil.copytree(packages["plain"], path)
    (path / "Data" / "link").symlink_to("/etc/passwd")
    with pytest.raises(EdgerepError, match="is a link"):
        open_package(path)
