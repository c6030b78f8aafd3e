"""Write fused weights as safetensors, under the official deploy names."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save

from edgerep.files import replacing, sha256_of
from edgerep.fusion import Fused
from edgerep.network import origin_of
from edgerep.records import Record, versions_of, write_record


def save_weights(fused: Fused, path: str | Path) -> Record:
    """Write the fused network's `state_dict`; it loads back with `edgerep.load`.

    Raises:
        OptionError, OutputError: The file cannot be written.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().contiguous().cpu()
        for name, tensor in fused.module.state_dict().items()
    }
    with replacing(path) as partial:
        # Not save_file: it reports a full disk as an error of its own, and makes the file private.
        partial.write_bytes(save(tensors, metadata={"format": "pt"}))
    certificate = fused.certificate.to_json() if fused.certificate else None
    record = Record(
        kind="weights",
        sha256=sha256_of(path),
        made_from=(origin_entry(fused),),
        versions=versions_of(("torch", "safetensors")),
        options={"bn_eps": certificate["bn_eps"] if certificate else None},
        details={"tensors": len(tensors), "certificate": certificate},
    )
    write_record(path, record)
    return record


def origin_entry(source: Fused | torch.nn.Module) -> dict[str, object]:
    """The entry of `Record.made_from` for the network something is made of."""
    if isinstance(source, Fused):
        origin, module = source.origin, source.reference
    else:
        origin, module = origin_of(source), source
    if origin is None:
        return {"kind": "torch module", "name": type(module).__name__, "sha256": None}
    own = {"network": origin.network} if origin.network else {}
    return {
        "kind": "checkpoint" if origin.sha256 else "network" if own else "architecture",
        "name": origin.source,
        "sha256": origin.sha256,
        "format": origin.format,
        **own,
    }
