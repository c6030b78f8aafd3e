"""The systems that a Core ML package can be made for, as coremltools knows them."""

from __future__ import annotations

from typing import Any

from edgerep.artefacts.kinds import COREML_TARGETS
from edgerep.errors import OptionError
from edgerep.export.coreml.quiet_coremltools import ct


def deployment_target(target: str) -> Any:
    """The member of `coremltools.target` that `target` names.

    Raises:
        OptionError: `target` is none of `COREML_TARGETS`, or coremltools is too old for it.
    """
    if target not in COREML_TARGETS:
        raise OptionError(f"target {target!r} is not one of {', '.join(COREML_TARGETS)}")
    if not hasattr(ct.target, target):
        raise OptionError(
            f"coremltools {ct.__version__} does not know {target}: pip install -U coremltools"
        )
    return ct.target[target]
