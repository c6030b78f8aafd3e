"""Core ML packages: the same operators and bits as coremltools' own converter, and refusals."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.kinds import COREML_TARGETS
from edgerep.artefacts.records import read_record
from edgerep.artefacts.tensors import TensorSpec
from edgerep.bench.sessions.coreml_session import MilReferenceSession
from edgerep.bench.sessions.onnxruntime_session import OnnxRuntimeSession
from edgerep.data.preprocessing import Preprocessing
from edgerep.errors import CoremlError, EdgerepError, OptionError
from edgerep.export.coreml.conversion import export_coreml
from edgerep.export.coreml.package import open_package
from edgerep.export.coreml.quiet_coremltools import ct
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import Graph, open_graph, set_metadata_in_place
from edgerep.networks.repvgg import RepVGG, random_repvgg
from edgerep.networks.repvgg_architecture import Architecture
from oracle import convert_by_coremltools, listing

RTOL_INTERPRETER_VS_ONNXRUNTIME = 1e-5  # float32, of the largest output; measured 3e-7
RTOL_HALF_VS_ONNXRUNTIME = 5e-3  # both float16, rounded at different places; measured 1e-3
SIZE = (32, 24)
LABELS = [f"class {i}" for i in range(10)]
PIXELS = Preprocessing("uint8", (0.48, 0.46, 0.41), (0.23, 0.22, 0.23))


def architecture(*, squeeze: bool = False, groups: int = 1, channels: int = 3) -> Architecture:
    return Architecture(channels, 16, (16, 32), (2, 1), (1, 1, groups, 1), squeeze, 10)


def fused(plan: Architecture) -> RepVGG:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        return RepVGG(plan, plain=[block.name for block in plan.blocks()]).eval()


MakeGraph = Callable[..., Graph]


@pytest.fixture(scope="module")
def make_graph(tmp_path_factory: pytest.TempPathFactory) -> MakeGraph:
    """Exports each network once; no test may touch the file."""
    made: dict[str, Graph] = {}

    def make(plan: Architecture | None = None, **options: Any) -> Graph:
        key = f"{plan} {options}"
        if key not in made:
            path = tmp_path_factory.mktemp("graphs") / "net.onnx"
            made[key] = export_onnx(fused(plan or architecture()), path, size=SIZE, **options)
        return made[key]

    return make


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    "plan",
    [architecture(), architecture(groups=4), architecture(squeeze=True)],
    ids=["plain", "groups", "squeeze"],
)
def test_same_program_as_coremltools_own_pytorch_converter(
    plan: Architecture, precision: str, tmp_path: Path, make_graph: MakeGraph
) -> None:
    package = export_coreml(make_graph(plan, precision=precision), tmp_path / "ours.mlpackage")
    oracle = convert_by_coremltools(
        fused(plan), (1, 3, *SIZE), tmp_path / "oracle.mlpackage", half=precision == "fp16"
    )
    ours, theirs = listing(package.path), listing(oracle)
    assert [line[0] for line in ours] == [line[0] for line in theirs]
    assert ours == theirs  # weights, pads, strides, axes and the wiring, bit for bit
    assert package.precision == precision


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_weights_arrive_bit_for_bit(precision: str, tmp_path: Path, make_graph: MakeGraph) -> None:
    graph = make_graph(architecture(squeeze=True), precision=precision)
    package = export_coreml(graph, tmp_path / "net.mlpackage")
    held = {
        value[2]
        for _, arguments in listing(package.path)
        for _, value in arguments
        if isinstance(value, tuple)
    }
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in onnx.load(graph.path).graph.initializer
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    ]
    assert len(weights) > 20
    assert all(weight.tobytes() in held for weight in weights)


def test_nearly_equal_weights_stay_apart(tmp_path: Path) -> None:
    """The default passes of coremltools merge constants that begin alike and differ by < 6e-8."""
    first = np.full((16, 16, 1, 1), 2e-6, np.float16)
    second = first.copy()
    second[8:] = np.nextafter(second[8:], np.float16(1))  # it hashes the first 100 numbers
    shape = [1, 16, 2, 2]
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["h", "a"], ["m"]),
        helper.make_node("Conv", ["m", "b"], ["n"]),
        helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT),
    ]
    weights = [numpy_helper.from_array(first, "a"), numpy_helper.from_array(second, "b")]
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, shape)], ["y"], weights)
    package = export_coreml(file, tmp_path / "net.mlpackage")
    found: list[Any] = [
        weight[2]
        for operator, args in listing(package.path)
        if operator == "conv" and isinstance(weight := dict(args)["weight"], tuple)
    ]
    assert found == [first.tobytes(), second.tobytes()]


@pytest.mark.parametrize("target", COREML_TARGETS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_target_computes_the_same(
    target: str, precision: str, tmp_path: Path, make_graph: MakeGraph
) -> None:
    graph = make_graph(architecture(squeeze=True), precision=precision)
    package = export_coreml(graph, tmp_path / "net.mlpackage", target=target)
    assert package.target == target
    require_agreement(graph, package.path)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_unfused_network_keeps_its_branches(precision: str, tmp_path: Path) -> None:
    network = random_repvgg(architecture(groups=2))
    graph = export_onnx(network, tmp_path / "net.onnx", size=SIZE, precision=precision)
    package = export_coreml(graph, tmp_path / "net.mlpackage")
    assert package.operators["batch_norm"] == graph.operators["BatchNormalization"] > 8
    assert package.form == "unfused"
    require_agreement(graph, package.path)


@pytest.mark.parametrize("squeeze", [False, True])
def test_dynamic_batch_at_every_size(squeeze: bool, tmp_path: Path, make_graph: MakeGraph) -> None:
    graph = make_graph(architecture(squeeze=squeeze), batch=(2, 3, 6))
    package = export_coreml(graph, tmp_path / "net.mlpackage")
    assert package.batch == BatchProfile(2, 3, 6)
    assert package.inputs == (TensorSpec("image", "float32", (None, 3, *SIZE)),)
    assert package.outputs == (TensorSpec("logits", "float32", (None, 10)),)
    for count in range(2, 7):
        require_agreement(graph, package.path, count)
    with MilReferenceSession(package) as session, pytest.raises(ValueError, match="2:3:6; 7 given"):
        session.run(np.zeros((7, 3, *SIZE), np.float32))


@pytest.mark.parametrize(
    ("target", "wanted"), [((0, -1), (None, 32)), ((-1, 32), (None, 32)), ((0, 4, 8), None)]
)
def test_constant_reshape_with_dynamic_batch(
    target: Sequence[int], wanted: tuple[int | None, int] | None, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    shape = numpy_helper.from_array(np.array(target, np.int64), "shape")
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, ["n", 8, 2, 2])], ["y"], [shape])
    model = onnx.load(file)
    set_metadata_in_place(
        model, {"form": "unknown", "batch": [1, 2, 4], "made_from": [], "options": {}}
    )
    onnx.save(model, file)
    package = export_coreml(file, tmp_path / "net.mlpackage")
    assert package.outputs[0].shape == (wanted or (None, 4, 8))
    for count in (1, 2, 4):
        x = np.arange(count * 32, dtype=np.float32).reshape(count, 8, 2, 2)
        with MilReferenceSession(package) as session:
            np.testing.assert_array_equal(
                session.run(x)[0],
                x.reshape(count, *package.outputs[0].shape[1:]),
            )


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_input", [False, True])
def test_pixels_go_in_as_image_or_as_numbers(
    image_input: bool, channels: int, precision: str, tmp_path: Path, make_graph: MakeGraph
) -> None:
    pixels = Preprocessing("uint8", PIXELS.mean[:channels], PIXELS.std[:channels])
    plan = architecture(channels=channels)
    graph = make_graph(plan, precision=precision, preprocessing=pixels, batch="1:2:4")
    package = export_coreml(graph, tmp_path / "net.mlpackage", image_input=image_input)
    assert package.inputs[0].dtype == "uint8"
    assert package.image_input is image_input
    assert package.batch == (BatchProfile(1, 1, 1) if image_input else BatchProfile(1, 2, 4))
    for count in package.batch.sizes:
        require_agreement(graph, package.path, count)
    feature = ct.utils.load_spec(str(package.path)).description.input[0]
    if image_input:
        image = feature.type.imageType
        assert (image.height, image.width) == SIZE
        assert image.ColorSpace.Name(image.colorSpace) == {1: "GRAYSCALE", 3: "RGB"}[channels]
    else:
        assert "0 to 255" in feature.shortDescription
        assert feature.type.multiArrayType.dataType == 65568  # FLOAT32 of FeatureTypes.proto
    # Nothing is multiplied or added on the way in that the graph does not have.
    assert package.operators.get("mul", 0) == graph.operators.get("Mul", 0)
    assert package.operators.get("sub", 0) == graph.operators.get("Sub", 0) == 1


def test_labels_make_a_classifier(tmp_path: Path, make_graph: MakeGraph) -> None:
    graph = make_graph(preprocessing=PIXELS)
    plain = export_coreml(graph, tmp_path / "plain.mlpackage")
    package = export_coreml(graph, tmp_path / "net.mlpackage", image_input=True, labels=LABELS)
    assert package.labels == tuple(LABELS)
    assert package.softmax == "appended"
    assert package.operators["softmax"] == package.operators["classify"] == 1
    x = images(graph, 1)
    with MilReferenceSession(plain) as logits, MilReferenceSession(package) as session:
        wanted = torch.softmax(torch.from_numpy(logits.run(x)[0]), -1).numpy()
        np.testing.assert_allclose(session.run(x)[0], wanted, rtol=1e-6)
    record = read_record(package.path)
    assert record is not None
    assert record.details["softmax"] == "appended"
    assert record.options["labels"] == LABELS
    spec = ct.utils.load_spec(str(package.path)).description
    assert spec.predictedFeatureName == "classLabel"


def test_softmax_of_the_graph_is_not_repeated(tmp_path: Path) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"])]
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y"])
    package = export_coreml(file, tmp_path / "net.mlpackage", labels=["a", "b", "c"])
    assert package.softmax == "in the graph"
    assert package.operators["softmax"] == 1


SCORES = {
    "sigmoid": [helper.make_node("Sigmoid", ["x"], ["y"])],
    "sigmoid, cast": [helper.make_node("Sigmoid", ["x"], ["s"]),
                      helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT)],
    "product of two": [helper.make_node("Sigmoid", ["x"], ["a"]),
                       helper.make_node("HardSigmoid", ["x"], ["b"]),
                       helper.make_node("Mul", ["a", "b"], ["y"])],
    "mean of two": [helper.make_node("Sigmoid", ["x"], ["a"]),
                    helper.make_node("Softmax", ["x"], ["b"]),
                    helper.make_node("Add", ["a", "b"], ["c"]),
                    helper.make_node("Add", ["c", "c"], ["d"]),
                    helper.make_node("Div", ["d", "four"], ["y"])],
}  # fmt: skip
LOGITS = {
    "no end": [helper.make_node("Neg", ["x"], ["y"])],
    "scores above 1": [helper.make_node("Sigmoid", ["x"], ["a"]),
                       helper.make_node("Add", ["a", "a"], ["y"])],
    "a sigmoid inside": [helper.make_node("Sigmoid", ["x"], ["a"]),
                         helper.make_node("Mul", ["a", "x"], ["y"])],
}  # fmt: skip


@pytest.mark.parametrize("name", [*SCORES, *LOGITS])
def test_labels_keep_scores_that_the_graph_ends_in(name: str, tmp_path: Path) -> None:
    nodes = SCORES.get(name) or LOGITS[name]
    four = numpy_helper.from_array(np.array([4.0], np.float32), "four")
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y"], [four])
    package = export_coreml(file, tmp_path / "net.mlpackage", labels=["a", "b", "c"])
    wanted = "scores in the graph" if name in SCORES else "appended"
    assert package.softmax == wanted
    with OnnxRuntimeSession(file) as plain, MilReferenceSession(package) as classifier:
        x = np.array([[-1.0, 0.0, 2.0]], np.float32)
        scores = plain.run(x)[0]
        if name in LOGITS:
            scores = np.exp(scores) / np.exp(scores).sum()
        assert np.allclose(classifier.run(x)[0], scores, atol=1e-6)


def test_package_says_what_it_is(tmp_path: Path, make_graph: MakeGraph) -> None:
    graph = make_graph(precision="fp16")
    package = export_coreml(
        str(graph.path), tmp_path / "net.mlpackage", author="A", description="D", license="L"
    )
    metadata = ct.utils.load_spec(str(package.path)).description.metadata
    assert (metadata.author, metadata.shortDescription, metadata.license) == ("A", "D", "L")
    assert metadata.userDefined["edgerep.onnx.sha256"] == graph.sha256
    assert metadata.userDefined["edgerep.precision"] == "fp16"
    assert metadata.userDefined["edgerep.version"]
    assert package.made_from == graph.lineage
    assert open_package(package.path) == package
    record = read_record(package.path)  # checks the hash
    assert record is not None
    assert record.made_from[0]["sha256"] == graph.sha256
    assert record.details["precision"] == "fp16"


def test_operators_outside_the_table_are_all_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Asinh", ["x"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Acosh", ["b"], ["c"], name="second"),
        helper.make_node("Asinh", ["c"], ["y"], name="third"),
    ]
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y"])
    with pytest.raises(
        CoremlError, match="\n  Asinh \N{MULTIPLICATION SIGN}2: first\n  Acosh: second\n"
    ):
        export_coreml(file, tmp_path / "net.mlpackage")
    assert list(tmp_path.iterdir()) == [file]


def test_equal_reasons_are_one_line_with_the_first_node_and_its_source(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "cut"], ["a"], name="first"),
        helper.make_node("Pad", ["x", "cut"], ["b"], name="second"),
        helper.make_node("Pad", ["x", "far"], ["c"], mode="reflect", name="third"),
        helper.make_node("Add", ["a", "b"], ["d"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    nodes[0].metadata_props.add(
        key="pkg.torch.onnx.stack_trace",
        value='File "/home/ada/nets/detect.py", line 88, in forward\n    y = pad(x)\n'
        'File "/usr/lib/site-packages/torch/nn/functional.py", line 5, in pad\n',
    )
    cut = numpy_helper.from_array(np.array([0, -1, 0, 1], np.int64), "cut")
    far = numpy_helper.from_array(np.array([0, 9, 0, 9], np.int64), "far")
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y", "d"], [cut, far])
    with pytest.raises(CoremlError) as caught:
        export_coreml(file, tmp_path / "net.mlpackage")
    first, second = str(caught.value).split("\n")
    assert first.startswith(
        "node `first` (Pad \N{MULTIPLICATION SIGN}2, the first at detect.py:88) cannot be expressed"
    )
    assert second.startswith(
        "node `third` (Pad) cannot be expressed exactly in Core ML: its pads ["
    )


def test_graphs_of_old_opsets_are_moved_to_a_newer_one(tmp_path: Path) -> None:
    nodes = [helper.make_node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0, 2.0])]
    x = ("x", TensorProto.FLOAT, [1, 1, 2, 3])
    package = export_coreml(
        save_graph(tmp_path, nodes, [x], ["y"], opset=7), tmp_path / "n.mlpackage"
    )
    assert dict(package.operators) == {"upsample_nearest_neighbor": 1}


def test_opset_the_table_was_not_written_for(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, [1])], ["y"], opset=22)
    with pytest.raises(CoremlError, match=r"opset 22.* 7 to 21"):
        export_coreml(file, tmp_path / "net.mlpackage")


def test_constants_that_mean_nothing_are_one_message(tmp_path: Path) -> None:
    """Onnx's evaluator raises whatever numpy does; the message names the node."""
    nodes = [
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1, name="the_node"),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    wrong = [numpy_helper.from_array(np.ones((1, n, n), np.float32), c) for n, c in enumerate("ab")]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])], wrong,
    )  # fmt: skip
    file = tmp_path / "net.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, file)
    with pytest.raises(CoremlError, match=r"^node `the_node` \(Concat\).* no result .*Error: .*$"):
        export_coreml(file, tmp_path / "net.mlpackage")


def test_constants_without_end_are_refused(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([2**20, 2**9], np.int64), "shape")
    # Beside so many weights such a constant may be honest, so the reader of the file allows it.
    weights = numpy_helper.from_array(np.zeros(2**22, np.int8), "weights")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["c"], name="the_node"),
        helper.make_node("ReduceMax", ["c"], ["m"], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    constants = [shape, weights]
    file = save_graph(tmp_path, nodes, [("x", TensorProto.FLOAT, [1, 3])], ["y"], constants)
    with pytest.raises(CoremlError, match=rf"`the_node`.* constant of {2**29} numbers"):
        export_coreml(file, tmp_path / "net.mlpackage")


REFUSALS: list[tuple[dict[str, Any], dict[str, Any], type[EdgerepError], str]] = [
    ({}, {"labels": LABELS[:9]}, CoremlError, "9 labels, and the network has 10 classes"),
    ({}, {"labels": []}, CoremlError, "0 labels"),
    ({}, {"labels": [*LABELS[:9], LABELS[0]]}, OptionError, "more than once.*class 0"),
    ({}, {"image_input": True}, CoremlError, r"takes image: float32 \[1, 3, 32, 24\]"),
    ({"batch": 4}, {"labels": LABELS}, CoremlError, "batch of 4"),
    ({"batch": 4, "preprocessing": PIXELS}, {"image_input": True}, CoremlError, "batch of 4"),
    ({}, {"target": "iOS14"}, OptionError, "iOS15, iOS16"),
]


@pytest.mark.parametrize(("graph", "options", "error", "message"), REFUSALS)
def test_refused_and_the_package_before_is_intact(
    graph: dict[str, Any],
    options: dict[str, Any],
    error: type[EdgerepError],
    message: str,
    tmp_path: Path,
    make_graph: MakeGraph,
) -> None:
    path = tmp_path / "net.mlpackage"
    before = export_coreml(make_graph(), path)
    other = make_graph(**graph)
    with pytest.raises(error, match=message):
        export_coreml(other, path, **options)
    assert open_package(path) == before
    assert read_record(path) is not None


@pytest.mark.parametrize("kind", ["file", "foreign folder", "wrong suffix"])
def test_output_path_that_is_no_package(kind: str, tmp_path: Path, make_graph: MakeGraph) -> None:
    path = tmp_path / ("out" if kind == "wrong suffix" else "out.mlpackage")
    if kind == "file":
        path.write_text("precious")
    elif kind == "foreign folder":
        path.mkdir()
        (path / "thesis.txt").write_text("precious")
    with pytest.raises(OptionError):
        export_coreml(make_graph(), path)
    kept = [file.read_text() for file in tmp_path.rglob("*") if file.suffix in (".txt", "") and
            file.is_file()]  # fmt: skip
    assert kind == "wrong suffix" or kept or path.read_text() == "precious"


def test_graph_replaced_since_it_was_opened(tmp_path: Path, make_graph: MakeGraph) -> None:
    file = Path(shutil.copy(make_graph().path, tmp_path / "net.onnx"))
    old = open_graph(file)
    shutil.copy(make_graph(architecture(squeeze=True)).path, file)
    with pytest.raises(CoremlError, match="replaced since"):
        export_coreml(old, tmp_path / "net.mlpackage")


def test_8_bit_input_may_only_be_cast(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["x", "x"], ["a"], name="wraps"),  # in ONNX, modulo 256
        helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    ]
    file = save_graph(tmp_path, nodes, [("x", TensorProto.UINT8, [1, 3, 2, 2])], ["y"])
    with pytest.raises(CoremlError, match="wraps: Add"):
        export_coreml(file, tmp_path / "net.mlpackage")


def test_float16_arrays_need_ios16(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    file = save_graph(
        tmp_path, nodes, [("x", TensorProto.FLOAT16, [1, 3])], ["y"], dtype=TensorProto.FLOAT16
    )
    package = export_coreml(file, tmp_path / "net.mlpackage")
    x = np.array([[-1, 0.3, 2]], np.float16)
    with MilReferenceSession(package) as session:
        np.testing.assert_array_equal(session.run(x)[0], np.maximum(x, 0).astype(np.float32))
    with pytest.raises(CoremlError, match=r"x, y are float16, which iOS15"):
        export_coreml(file, tmp_path / "net.mlpackage", target="iOS15")


def test_full_disk_leaves_the_package_before(tmp_path: Path, make_graph: MakeGraph) -> None:
    """A limit on the size of files stands in for the disk: the weights do not fit."""
    path = tmp_path / "net.mlpackage"
    before = export_coreml(make_graph(), path)
    graph = make_graph(architecture(squeeze=True))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    program = (
        "import sys; from edgerep.errors import EdgerepError\n"
        "from edgerep.export.coreml.conversion import export_coreml\n"
        "try: export_coreml(sys.argv[1], sys.argv[2])\n"
        "except EdgerepError as error: sys.exit('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(graph.path), str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        check=False, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode != 0
    assert open_package(path) == before
    assert done.stderr.strip() == "refused"
    assert list(temporary.iterdir()) == []


def truncate_weights(package: Path) -> None:
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    with weights.open("r+b") as stream:
        stream.truncate(weights.stat().st_size - 100)


def truncate_program(package: Path) -> None:
    with (package / "Data/com.apple.CoreML/model.mlmodel").open("r+b") as stream:
        stream.truncate(500)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "weights cut short": truncate_weights,
    "no weights": lambda p: (p / "Data/com.apple.CoreML/weights/weight.bin").unlink(),
    "empty weights": lambda p: (p / "Data/com.apple.CoreML/weights/weight.bin").write_bytes(b""),
    "no manifest": lambda p: (p / "Manifest.json").unlink(),
    "empty manifest": lambda p: (p / "Manifest.json").write_text("{}"),
    "program cut short": truncate_program,
    "no program": lambda p: (p / "Data/com.apple.CoreML/model.mlmodel").unlink(),
    "empty folder": lambda p: p.rename(p.with_suffix(".was")).parent.joinpath(p.name).mkdir(),
    "a file": lambda p: p.rename(p.with_suffix(".was")).joinpath("Manifest.json").rename(p),
    "nothing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_package_is_refused(
    damage: Callable[[Path], object], tmp_path: Path, make_graph: MakeGraph
) -> None:
    package = export_coreml(make_graph(), tmp_path / "net.mlpackage")
    damage(package.path)
    with pytest.raises(CoremlError, match=r"net\.mlpackage"):
        open_package(package.path)


def test_conversion_is_silent_and_changes_no_setting(tmp_path: Path, make_graph: MakeGraph) -> None:
    graph = make_graph()
    program = (
        "import logging, sys, warnings\n"
        "filters = list(warnings.filters)\n"
        "from edgerep.export.coreml.conversion import export_coreml\n"
        "from edgerep.bench.sessions.coreml_session import MilReferenceSession\n"
        "filters = list(warnings.filters)\n"
        "MilReferenceSession(export_coreml(sys.argv[1], sys.argv[2]))\n"
        "assert list(warnings.filters) == filters\n"
        "assert logging.getLogger('coremltools').level == logging.NOTSET\n"
        "from coremltools.converters.mil.mil.passes import pass_pipeline\n"
        "import tqdm; assert pass_pipeline.tqdm is tqdm.tqdm\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(graph.path), str(tmp_path / "net.mlpackage")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def images(graph: Graph, count: int) -> np.ndarray[Any, Any]:
    spec, rng = graph.inputs[0], np.random.default_rng(count)
    if spec.dtype == "uint8":
        return rng.integers(0, 256, spec.concrete(count), dtype=np.uint8)
    return rng.standard_normal(spec.concrete(count)).astype(np.float32)


def require_agreement(graph: Graph, package: Path, count: int = 1) -> None:
    """The saved package against ONNX Runtime on the graph it was made from."""
    x = images(graph, count)
    with MilReferenceSession(package) as ours, OnnxRuntimeSession(graph.path) as reference:
        found, wanted = ours.run(x)[0], reference.run(x)[0]
    half = graph.precision == "fp16"
    rtol = RTOL_HALF_VS_ONNXRUNTIME if half else RTOL_INTERPRETER_VS_ONNXRUNTIME
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=rtol * np.abs(wanted).max())


def save_graph(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[int | str]]],
    outputs: Sequence[str],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = 18,
    dtype: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        weights,
    )
    file = folder / "net.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), file)
    return file


@pytest.mark.parametrize("outcome", ["made", "not writable"])
def test_nothing_is_left_in_the_systems_temporary_folder(
    outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_graph: MakeGraph
) -> None:
    graph, temporary = make_graph(), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if outcome == "made":
        export_coreml(graph, tmp_path / "net.mlpackage")
    else:
        (tmp_path / "net.mlpackage").write_text("a file")
        with pytest.raises(EdgerepError):
            export_coreml(graph, tmp_path / "net.mlpackage")
    assert list(temporary.iterdir()) == []
