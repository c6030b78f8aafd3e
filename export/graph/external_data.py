"""Weights that an ONNX file keeps in other files, and whether they can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper

from edgerep.errors import OnnxError
from edgerep.export.graph.index import bodies_in
from edgerep.export.graph.soundness import tensors_of
from edgerep.outside.regular import MIB

_SHARING = 2  # how often the same bytes may be weights: tied ones are
_FREE_BYTES = 64 * MIB


def load_external_data_in_place(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that a model keeps in other files into the model.

    Args:
        model: Changed in place.
        path: The model's file; the others must lie in its folder or below.

    Raises:
        OnnxError: The file of a tensor is missing, a link, too short or elsewhere (the first ten
            are named), or cannot be read; or the tensors are more than the files hold.
    """
    folder = path.parent.resolve()
    broken = []
    files: dict[Path, int] = {}
    total = 0
    for tensor in tensors_of([model.graph, *bodies_in(model.graph.node)]):
        if not external_data_helper.uses_external_data(tensor):
            continue
        name: Any = tensor.name
        try:
            if not isinstance(name, str):  # protobuf gives bytes where there is no text
                raise ValueError("its name is not in UTF-8")
            info = external_data_helper.ExternalDataInfo(tensor)
            file = (folder / info.location).resolve()
            if min(info.offset or 0, info.length or 0) < 0:
                raise ValueError("its offset or length is negative")
        except (ValueError, OSError, RuntimeError) as error:
            broken.append(f"{name}: {error}")
            continue
        if not file.is_relative_to(folder):
            broken.append(f"{tensor.name}: {info.location} lies outside the model's folder")
        elif not file.is_file():  # a pipe or a device is none, too
            broken.append(f"{tensor.name}: {info.location} is missing")
        elif (folder / info.location).is_symlink():
            broken.append(f"{tensor.name}: {info.location} is a link")
        elif file.stat().st_size < (info.offset or 0) + (info.length or 0):
            broken.append(f"{tensor.name}: {info.location} is too short")
        else:
            files[file] = file.stat().st_size
            total += info.length or files[file] - (info.offset or 0)
    if broken:
        shown = "".join(f"\n  {line}" for line in broken[:10])
        more = f"\n  and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise OnnxError(
            f"{path} keeps weights in other files, and they cannot be used:{shown}{more}\n"
            f"put those files beside the model, or export it as one file"
        )
    if total > _SHARING * sum(files.values()) + _FREE_BYTES:
        raise OnnxError(
            f"{path} takes {total:,} bytes of weights from {len(files)} file(s) of "
            f"{sum(files.values()):,} bytes: its tensors lie over each other"
        )
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise OnnxError(f"{path}: its external data cannot be loaded: {error}") from error
