"""Write fused weights as safetensors, under the deploy names of a code base."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from edgerep.artefacts.files import require_suffix, sha256_of
from edgerep.artefacts.kinds import WEIGHTS_SUFFIX
from edgerep.artefacts.records import Record, versions_of, write_and_certify
from edgerep.checkpoints.spelling import format_name, format_of
from edgerep.errors import OptionError
from edgerep.fusion.fused import Fused
from edgerep.networks.network import origin_entry


def save_weights(fused: Fused, path: str | Path, *, to: str = "official") -> Record:
    """Write the `state_dict` of a fused network, and its record.

    `edgerep.load` loads the file back, unless the network is one of the user's own.

    Args:
        fused: The network.
        path: Of the file, `.safetensors`; its record lies beside it.
        to: Whose deploy names the tensors get: "official", which are the names in memory, "timm"
            or "mmpretrain" (whose release 1.2.0 leaves squeeze-and-excitation out of a RepVGG
            built in deploy mode).

    Raises:
        OptionError: `to` is no code base that edgerep knows, or it has no such network; `path`
            is a folder or does not end in .safetensors.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    require_suffix(path, WEIGHTS_SUFFIX, "fused weights")
    tensors = _named(_own_tensors(fused.module), to)
    # Not save_file: it reports a full disk as an error of its own, and makes the file private.
    content = save(tensors, metadata={"format": "pt"})
    certificate = fused.certificate.to_json() if fused.certificate else None
    return write_and_certify(
        path,
        write=lambda partial: partial.write_bytes(content),
        describe=lambda partial: Record(
            kind="weights",
            sha256=sha256_of(partial),
            made_from=(origin_entry(fused.reference),),
            versions=versions_of(("torch", "safetensors")),
            options={"bn_eps": certificate["bn_eps"] if certificate else None, "to": to},
            details={"tensors": len(tensors), "certificate": certificate},
        ),
        record=lambda record: record,
    )


def _own_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The module's tensors, on the CPU; one under two names is copied, as the format demands."""
    tensors: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict().items():
        kept = tensor.detach().cpu().contiguous()
        tensors[name] = kept.clone() if kept.data_ptr() in seen else kept
        seen.add(kept.data_ptr())
    return tensors


def _named(tensors: dict[str, torch.Tensor], to: str) -> dict[str, torch.Tensor]:
    if to == "official":
        return tensors
    theirs = format_of(to, tensors)
    renamed = {}
    for name, tensor in tensors.items():
        spelt = format_name(theirs, name)
        if spelt is None:
            raise OptionError(f"{to} has no name for {name}: write it with the official names")
        renamed[spelt] = tensor
    return renamed
