"""Faults that deployments have been shipped with, planted one at a time: `verify` finds each.

Every fault is planted in the exported float32 graph. The float16 graph is made from the faulty one
wherever float16's tolerance can tell the fault from its own rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import edgerep
from edgerep.artefacts.tensors import Array
from edgerep.bench.parity.findings import ArtefactParity
from edgerep.bench.parity.verification import verify
from edgerep.data.preprocessing import Preprocessing
from edgerep.export.from_torch.onnx_export import export_onnx
from edgerep.export.graph.onnx_file import open_graph
from edgerep.export.precision.adaptation import adapt_onnx
from edgerep.fusion.algebra.linear_map import LinearMap
from edgerep.fusion.algebra.sums import total
from edgerep.fusion.fused import fuse
from edgerep.networks.repvgg import RepVGG, TrainBlock, random_repvgg
from edgerep.networks.repvgg_architecture import Architecture, BlockPlan
from zoo.branches import branch_maps

DEMO = Path(__file__).parents[3] / "docs" / "demo"
CHECKPOINT = DEMO / "digits-repvgg.pth"
BATCH = (1, 3, 5)
DIGITS_PIXELS = Preprocessing("uint8", (0.3059,), (0.324,))
COLOUR_PIXELS = Preprocessing("uint8", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
GROUPS_AND_SQUEEZE = Architecture(3, 16, (16, 32), (3, 2), (1, 1, 4, 1, 2, 1), True, 10)


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, its fused float32 graph, and the blocks that faults are planted in."""

    model: RepVGG
    preprocessing: Preprocessing
    proto: onnx.ModelProto
    calibration: Array

    @property
    def plans(self) -> tuple[BlockPlan, ...]:
        return tuple(self.model.architecture.blocks())

    @property
    def block(self) -> str:
        """A block in the middle with all three branches, not grouped."""
        found = [p.name for p in self.plans if p.has_identity and p.groups == 1]
        return found[len(found) // 2]

    @property
    def grouped(self) -> BlockPlan:
        return next(plan for plan in self.plans if plan.has_identity and plan.groups > 1)

    @property
    def strided(self) -> str:
        return next(plan.name for plan in self.plans[1:] if plan.stride == 2)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    folder = tmp_path_factory.mktemp("honest")
    digits = edgerep.load(CHECKPOINT)
    assert isinstance(digits, RepVGG)
    with np.load(DEMO / "calibration.npz") as file:
        images = file["images"][:6]
    colours = smooth_images(64)
    colour = settled(random_repvgg(GROUPS_AND_SQUEEZE, seed=1), COLOUR_PIXELS.apply(colours))
    found = {}
    for name, model, size, pixels, calibration in (
        ("digits", digits, (32, 32), DIGITS_PIXELS, images),
        ("squeeze", colour, (32, 24), COLOUR_PIXELS, colours[:6]),
    ):
        graph = export_onnx(
            fuse(model, certify=False),
            folder / f"{name}.onnx",
            batch=BATCH,
            size=size,
            preprocessing=pixels,
        )
        found[name] = Subject(model, pixels, onnx.load(graph.path), calibration)
    return found


def smooth_images(count: int) -> Array:
    """Pixels [count, 3, 32, 24] in patches of 8, so that images differ after pooling too."""
    patches = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 3), dtype=np.uint8)
    return patches.repeat(8, axis=2).repeat(8, axis=3)


def settled(model: RepVGG, images: Array) -> RepVGG:
    """The network with the BatchNorm statistics of these images: its answers depend on the image.

    Those of a network with random statistics hardly do, and faults drown in their constant part.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.from_numpy(images).float())
    return model.eval()


def verified(
    subject: Subject, proto: onnx.ModelProto, folder: Path, precision: str
) -> ArtefactParity:
    """Parity of a graph, turned into float16 first where asked for."""
    del proto.graph.value_info[:]  # shapes that are only notes; a fault may change them
    path = folder / "artefact.onnx"
    path.write_bytes(proto.SerializeToString())
    if precision == "fp16":
        path = adapt_onnx(open_graph(path), folder / "half.onnx", precision="fp16").path
    return verify(subject.model, [path], calibration=subject.calibration).artefacts[0]


# -- reaching into a graph --------------------------------------------------------------------


def weight_of(block: str) -> str:
    return f"{block}.rbr_reparam.weight"


def bias_of(block: str) -> str:
    return f"{block}.rbr_reparam.bias"


def tensor(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in proto.graph.initializer if t.name == name)


def edit(proto: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    """Replace a constant by `change` of it; the change must be one."""
    old = numpy_helper.to_array(tensor(proto, name))
    new = np.ascontiguousarray(change(old.copy())).astype(np.float32)
    assert new.shape == old.shape
    assert not np.array_equal(new, old)
    tensor(proto, name).CopyFrom(numpy_helper.from_array(new, name))


def conv_of(proto: onnx.ModelProto, block: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if weight_of(block) in node.input)


def set_attribute(node: onnx.NodeProto, name: str, values: Sequence[int]) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, list(values))])


def refold(proto: onnx.ModelProto, block: str, branches: Sequence[LinearMap]) -> None:
    whole = total([(1.0, branch) for branch in branches])
    assert whole.bias is not None
    kernel, bias = whole.kernel(), whole.bias()
    edit(proto, weight_of(block), lambda _: kernel.numpy())
    tensor(proto, bias_of(block)).CopyFrom(
        numpy_helper.from_array(bias.numpy().astype(np.float32), bias_of(block))
    )


def train_block(subject: Subject, name: str) -> TrainBlock:
    block = subject.model.get_submodule(name)
    assert isinstance(block, TrainBlock)
    return block


# -- the faults: weights ----------------------------------------------------------------------


def two_output_channels_swapped(proto: onnx.ModelProto, subject: Subject) -> None:
    for name in (weight_of(subject.block), bias_of(subject.block)):
        edit(proto, name, lambda w: w[[1, 0, *range(2, len(w))]])


def two_input_channels_swapped(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, weight_of(subject.block), lambda w: w[:, [1, 0, *range(2, w.shape[1])]])


def identity_branch_dropped(proto: onnx.ModelProto, subject: Subject) -> None:
    refold(proto, subject.block, branch_maps(train_block(subject, subject.block))[:2])


def pointwise_branch_dropped(proto: onnx.ModelProto, subject: Subject) -> None:
    dense, _, identity = branch_maps(train_block(subject, subject.block))
    refold(proto, subject.block, (dense, identity))


def grouped_identity_misplaced(proto: onnx.ModelProto, subject: Subject) -> None:
    plan = subject.grouped
    _, _, identity = branch_maps(train_block(subject, plan.name))
    width = plan.in_channels // plan.groups

    def moved(weight: Array) -> Array:
        own = np.arange(plan.out_channels)
        scale = identity.kernel().flatten().numpy()
        weight[own, own % width, 1, 1] -= scale
        weight[own, own // plan.groups, 1, 1] += scale
        return weight

    edit(proto, weight_of(plan.name), moved)


def weights_before_the_last_training_step(proto: onnx.ModelProto, subject: Subject) -> None:
    earlier = copy.deepcopy(train_block(subject, subject.block))
    weight = earlier.rbr_dense.conv.weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weight += 1e-3 * weight.std() * noise
    refold(proto, subject.block, branch_maps(earlier))


def weights_of_another_seed(proto: onnx.ModelProto, subject: Subject) -> None:
    random = np.random.default_rng(0)
    edit(proto, weight_of(subject.block), lambda w: random.normal(w.mean(), w.std(), w.shape))


def kernel_transposed(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, weight_of(subject.block), lambda w: w.swapaxes(2, 3))


def kernel_flipped(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, weight_of(subject.block), lambda w: w[:, :, ::-1, ::-1])


def bias_lost(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, bias_of(subject.block), np.zeros_like)


def classifier_bias_lost(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, "linear.bias", np.zeros_like)


def two_classes_swapped(proto: onnx.ModelProto, subject: Subject) -> None:
    for name in ("linear.weight", "linear.bias"):
        edit(proto, name, lambda w: w[[1, 0, *range(2, len(w))]])


def sign_of_one_weight_flipped(proto: onnx.ModelProto, subject: Subject) -> None:
    def flipped(weight: Array) -> Array:
        largest = np.unravel_index(np.abs(weight).argmax(), weight.shape)
        weight[largest] *= -1
        return weight

    edit(proto, weight_of(subject.block), flipped)


def one_tensor_rounded_to_bfloat16(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(
        proto,
        weight_of(subject.block),
        lambda w: torch.from_numpy(w).bfloat16().float().numpy(),
    )


# -- the faults: operators --------------------------------------------------------------------


def padding_shifted_by_one(proto: onnx.ModelProto, subject: Subject) -> None:
    set_attribute(conv_of(proto, subject.block), "pads", (2, 2, 0, 0))


def padding_missing_on_one_side(proto: onnx.ModelProto, subject: Subject) -> None:
    set_attribute(conv_of(proto, subject.block), "pads", (1, 1, 0, 1))


def stride_lost(proto: onnx.ModelProto, subject: Subject) -> None:
    set_attribute(conv_of(proto, subject.strided), "strides", (1, 1))


def dilated(proto: onnx.ModelProto, subject: Subject) -> None:
    set_attribute(conv_of(proto, subject.block), "dilations", (2, 2))
    set_attribute(conv_of(proto, subject.block), "pads", (2, 2, 2, 2))


def relu_removed(proto: onnx.ModelProto, subject: Subject) -> None:
    """Of the block's own, behind its squeeze-and-excitation where it has one."""
    names = {conv_of(proto, subject.block).output[0]}
    while True:
        reader = next(n for n in proto.graph.node if names.intersection(n.input))
        if subject.model.architecture.squeeze:
            reader = next(n for n in proto.graph.node if n.op_type == "Mul" and names & {*n.input})
            names = {reader.output[0]}
            reader = next(n for n in proto.graph.node if names.intersection(n.input))
        assert reader.op_type == "Relu"
        reader.op_type = "Identity"
        return


def gate_approximated(proto: onnx.ModelProto, subject: Subject) -> None:
    next(n for n in proto.graph.node if n.op_type == "Sigmoid").op_type = "HardSigmoid"


def pooled_by_maximum(proto: onnx.ModelProto, subject: Subject) -> None:
    [n for n in proto.graph.node if n.op_type == "ReduceMean"][-1].op_type = "ReduceMax"


def third_image_answered_like_the_second(proto: onnx.ModelProto, subject: Subject) -> None:
    """Shows in no batch of one."""
    nodes = proto.graph.node
    next(n for n in nodes if n.output[0] == "logits").output[0] = "logits_of_each"
    for name, value in (("zero", 0), ("one", 1), ("two", 2)):
        proto.graph.initializer.append(
            numpy_helper.from_array(np.array(value, np.int64), f"fault_{name}")
        )
    shape = helper.make_node("Shape", ["logits_of_each"], ["fault_shape"])
    nodes.extend([
        shape,
        helper.make_node("Gather", ["fault_shape", "fault_zero"], ["fault_count"]),
        helper.make_node("Range", ["fault_zero", "fault_count", "fault_one"], ["fault_own"]),
        helper.make_node("Equal", ["fault_own", "fault_two"], ["fault_third"]),
        helper.make_node("Where", ["fault_third", "fault_one", "fault_own"], ["fault_which"]),
        helper.make_node("Gather", ["logits_of_each", "fault_which"], ["logits"], axis=0),
    ])  # fmt: skip


# -- the faults: preprocessing ----------------------------------------------------------------


def mean_folded_into_the_bias(proto: onnx.ModelProto, subject: Subject) -> None:
    kernel = numpy_helper.to_array(tensor(proto, weight_of("stage0")))
    mean = subject.preprocessing.subtrahend(kernel.shape[1])
    edit(proto, bias_of("stage0"), lambda b: b - (kernel.sum((2, 3)) * mean).sum(1))
    edit(proto, "image_centred_constant", np.zeros_like)


def std_forgotten(proto: onnx.ModelProto, subject: Subject) -> None:
    std = np.array(subject.preprocessing.std)[:, None, None]
    edit(proto, weight_of("stage0"), lambda w: w * std)


def red_and_blue_swapped(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, weight_of("stage0"), lambda w: w[:, ::-1])


def divided_by_256(proto: onnx.ModelProto, subject: Subject) -> None:
    edit(proto, weight_of("stage0"), lambda w: w * (255 / 256))


def pixels_taken_for_signed(proto: onnx.ModelProto, subject: Subject) -> None:
    first = proto.graph.node[0]
    assert first.op_type == "Cast"
    first.input[0] = "fault_signed"
    cast = helper.make_node("Cast", ["image"], ["fault_signed"], to=TensorProto.INT8)
    nodes = [cast, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


@dataclass(frozen=True)
class Fault:
    """What to plant, in which networks, and where float16 can resolve it."""

    plant: Callable[[onnx.ModelProto, Subject], None]
    subjects: tuple[str, ...] = ("digits", "squeeze")
    half: tuple[str, ...] = ("digits", "squeeze")


FAULTS = [
    Fault(two_output_channels_swapped),
    Fault(two_input_channels_swapped),
    Fault(identity_branch_dropped),
    Fault(pointwise_branch_dropped),
    Fault(grouped_identity_misplaced),
    Fault(weights_before_the_last_training_step, half=()),
    Fault(weights_of_another_seed),
    Fault(kernel_transposed),
    Fault(kernel_flipped),
    Fault(bias_lost),
    Fault(classifier_bias_lost),
    Fault(two_classes_swapped),
    Fault(sign_of_one_weight_flipped),
    Fault(one_tensor_rounded_to_bfloat16, half=()),
    Fault(padding_shifted_by_one),
    Fault(padding_missing_on_one_side),
    Fault(stride_lost),
    Fault(dilated),
    Fault(relu_removed),
    Fault(gate_approximated, subjects=("squeeze",)),
    Fault(pooled_by_maximum, subjects=("squeeze",)),  # of digits, one pixel is left to pool
    Fault(third_image_answered_like_the_second),
    Fault(mean_folded_into_the_bias),
    Fault(std_forgotten),
    Fault(red_and_blue_swapped, subjects=("squeeze",)),
    Fault(divided_by_256, half=()),  # 0.4 % of the input
    Fault(pixels_taken_for_signed),
]
CASES = [
    pytest.param(
        subject, precision, fault.plant, id=f"{subject}-{precision}-{fault.plant.__name__}"
    )
    for fault in FAULTS
    for subject in fault.subjects
    for precision in (("fp32", "fp16") if subject in fault.half else ("fp32",))
]


@pytest.mark.parametrize(("subject", "precision", "plant"), CASES)
def test_planted_fault_is_found(
    subject: str,
    precision: str,
    plant: Callable[[onnx.ModelProto, Subject], None],
    subjects: dict[str, Subject],
    tmp_path: Path,
) -> None:
    proto = copy.deepcopy(subjects[subject].proto)
    plant(proto, subjects[subject])
    result = verified(subjects[subject], proto, tmp_path, precision)
    assert result.ran
    assert not result.passed


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("subject", ["digits", "squeeze"])
def test_the_graph_without_a_fault_passes(
    subject: str, precision: str, subjects: dict[str, Subject], tmp_path: Path
) -> None:
    result = verified(
        subjects[subject], copy.deepcopy(subjects[subject].proto), tmp_path, precision
    )
    assert result.passed
