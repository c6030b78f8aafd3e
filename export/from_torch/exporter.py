"""From a torch module to an ONNX model in memory: the one place that calls torch's exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnxscript.optimizer
import onnxscript.rewriter
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.rewriter.rules.common import (
    materialize_reshape_shape_rule,
    remove_optional_bias_from_conv_rule,
    remove_optional_bias_from_gemm_rule,
)
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from edgerep.errors import EdgerepError, OnnxError, kind_and_line
from edgerep.export.from_torch.fixed_batch import line_that_fixes_the_batch
from edgerep.export.from_torch.refusal import refusal_of
from edgerep.networks.interface import (
    InputShape,
    flat_outputs,
    is_classifier,
    output_names,
    starred_place,
)
from edgerep.torch_modules.copies import state_kept

EXPORTER_LOWEST_OPSET = 18  # that torch's exporter writes; others are converted from it
_TRACED = (FakeTensor, FunctionalTensor)  # what stands for a tensor while it is exported
_TIDY_RULES = [  # rewrites that change no number and fold no BatchNorm
    remove_optional_bias_from_conv_rule,
    remove_optional_bias_from_gemm_rule,
    materialize_reshape_shape_rule,
]


@dataclass(frozen=True, eq=False)
class Traced:
    """What the exporter made of a module.

    Attributes:
        model: The ONNX model.
        program: The `torch.export.ExportedProgram` that it was translated from.
    """

    model: onnx.ModelProto
    program: Any


def exported(
    module: nn.Module,
    examples: Sequence[Tensor],
    interface: Sequence[InputShape],
    *,
    dynamic: bool,
    keep_batchnorm: bool,
) -> Traced:
    """Trace a module and translate it to an ONNX model, with names for its inputs and outputs.

    Args:
        module: In eval mode.
        examples: One tensor for each input, the batch first; the values do not matter.
        interface: The inputs, in the order of `examples`.
        dynamic: Leave the batch open.
        keep_batchnorm: Keep the exporter from folding BatchNorm into the layer before it.

    Raises:
        OnnxError: The module cannot be traced, has an operator that the exporter does not know
            (the message names the part of the module and the operator, or the line), or gives
            outputs without the batch first.
    """
    try:
        with quiet_exporter(), _data_traced():
            program = torch.onnx.export(
                module,
                tuple(examples),
                dynamo=True,
                verbose=False,
                optimize=not keep_batchnorm,
                opset_version=EXPORTER_LOWEST_OPSET,
                input_names=[spec.name for spec in interface],
                dynamic_shapes=_dynamic_shapes(module, len(interface)) if dynamic else None,
            )
            if program is None:
                raise OnnxError("torch.onnx.export returned nothing")
            if keep_batchnorm:
                # The exporter's own clean-up, less the rules that fold BatchNorm.
                onnxscript.optimizer.fold_constants(program.model)
                onnxscript.rewriter.rewrite(program.model, _TIDY_RULES)
                onnxscript.optimizer.remove_unused_nodes(program.model)
                LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(
                    program.model
                )
            _require_batch_first(program.model, module, examples, dynamic)
            _name_ends(program.model, interface)
            return Traced(program.model_proto, program.exported_program)
    except torch.onnx.errors.OnnxExporterError as error:
        with quiet_exporter():
            words = refusal_of(error, module, examples)
        raise OnnxError(words) from error
    except (EdgerepError, MemoryError):
        raise
    except Exception as error:  # torch's exporter and onnxscript raise whatever they like
        raise OnnxError(
            f"torch {torch.__version__} cannot write {type(module).__name__} as ONNX: "
            f"{kind_and_line(error)}"
        ) from error


@contextlib.contextmanager
def _data_traced() -> Iterator[None]:
    """Within this context, code that reads `weight.data` is traced as one that detaches it.

    torch.export follows no `.data`: the tensor that it gives there has no numbers behind it, and
    would become a constant of the graph.
    """
    plain: Any = Tensor.data

    def read(tensor: Tensor) -> Any:
        return tensor.detach() if isinstance(tensor, _TRACED) else plain.__get__(tensor)

    Tensor.data = property(read, plain.__set__)  # type: ignore[assignment]
    try:
        yield
    finally:
        del Tensor.data  # what it hid is the attribute of the class below


def _dynamic_shapes(module: nn.Module, count: int) -> Any:
    shapes = tuple({0: torch.export.Dim("batch")} for _ in range(count))
    place = starred_place(module)  # torch.export has what a `*parameter` takes in one tuple
    starred = () if place is None else shapes[place:]
    return (*shapes[:place], starred) if starred else shapes  # and leaves out a tuple of none


def _automatic(shapes: Any) -> Any:
    """The same shapes, with sizes that torch may settle for a number."""
    automatic = torch.export.Dim.AUTO
    return tuple(
        dict.fromkeys(one, automatic) if isinstance(one, dict) else _automatic(one)
        for one in shapes
    )


def _require_batch_first(
    model: Any, module: nn.Module, examples: Sequence[Tensor], dynamic: bool
) -> None:
    """Refuse outputs that do not begin with the batch: nothing behind the graph could use them."""
    batch = len(examples[0])
    wrong = []
    for index, value in enumerate(model.graph.outputs):
        shape = None if value.shape is None else list(value.shape)
        if shape is None:
            continue
        fixed = not shape or (isinstance(shape[0], int) and (dynamic or shape[0] != batch))
        if fixed:
            wrong.append(f"output {index} is [{', '.join(map(str, shape))}]")
    if wrong and dynamic and _is_batch_first(module, examples):
        shapes = _dynamic_shapes(module, len(examples))
        line = line_that_fixes_the_batch(module, examples, _automatic(shapes))
        raise OnnxError(
            f"{type(module).__name__} fixes the batch while it is traced ({', '.join(wrong)}): its "
            f"code keeps something by the shape of the input, or takes the batch for a number"
            f"{f', in {line}' if line else ''}. "
            f"Export it for one batch: --batch {batch}, or `batch={batch}`"
        )
    if wrong:
        kind = "an open batch" if dynamic else f"a batch of {batch}"
        raise OnnxError(
            f"{type(module).__name__} gives for {kind} outputs without the batch first: "
            f"{', '.join(wrong)}; let `forward` return [N, ...] each"
        )


def _is_batch_first(module: nn.Module, examples: Sequence[Tensor]) -> bool:
    """Whether the network itself gives one row an input, at one input more than the trace had."""
    more = [torch.cat([x, x[:1]]) for x in examples]
    try:
        with state_kept(module), torch.no_grad():
            outputs = flat_outputs(module(*more))
    except Exception:  # whatever a user's own forward raises
        return False
    return all(output.shape[:1] == (len(more[0]),) for output in outputs)


def _name_ends(model: Any, interface: Sequence[InputShape]) -> None:
    """Name the inputs and outputs of the exporter's model, whose number of outputs is known now."""
    initializers = model.graph.initializers
    for value, spec in zip(model.graph.inputs, interface, strict=True):
        if value.name != spec.name and spec.name in initializers:
            # torch 2.9 renames the input where a parameter of the module has its name.
            parameter = initializers.pop(spec.name)
            parameter.name = f"{spec.name}_parameter"
            initializers.add(parameter)
        value.name = spec.name
    ranks = [0 if value.shape is None else len(value.shape) for value in model.graph.outputs]
    if is_classifier(ranks, interface):
        model.graph.inputs[0].name = "image"
    for value, name in zip(model.graph.outputs, output_names(ranks, interface), strict=True):
        value.name = name


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says of torchvision, deprecations and graphs, in the block."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)  # torch sets the levels of its loggers one by one
        try:
            yield
        finally:
            logging.disable(before)
