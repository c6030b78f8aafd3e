"""The certificate of a fusion as a person reads it."""

from __future__ import annotations

from edgerep.bench.report.text.table import table
from edgerep.fusion.proof.certificate import BlockCertificate, Certificate

_MOST_LEFT = 12  # lines about what stayed; the JSON has all of them


def certificate_text(certificate: Certificate) -> str:
    """A table of the fused layers, and sentences about the network and about what stayed."""
    headers = ("layer", "branches", "BN", "became", "rel f64", "rel f32")
    lines = [table(headers, [_row(block) for block in certificate.blocks]), ""]
    lines += [_counts(certificate), _network(certificate)]
    lines += [
        f"Left as it was: {name}: {why}" for name, why in certificate.left_unfused[:_MOST_LEFT]
    ]
    if (more := len(certificate.left_unfused) - _MOST_LEFT) > 0:
        lines.append(f"... and {more} more, which --json lists")
    lines += [f"Note: {note}" for note in certificate.notes]
    return "\n".join(lines)


def one_line(certificate: Certificate) -> str:
    """The certificate in one line, for the progress of a longer command."""
    left = f", {certificate.batchnorms_left} BatchNorms stay" * bool(certificate.batchnorms_left)
    return (
        f"{certificate.convolutions_before} convolutions and {_norms(certificate)} BatchNorms -> "
        f"{certificate.convolutions_after} convolutions{left}; float64 error "
        f"{certificate.network.float64_rel:.1e}"
    )


def _row(block: BlockCertificate) -> tuple[str, ...]:
    return (
        block.name,
        block.kind,
        str(block.batchnorms),
        block.layer,
        f"{block.float64_rel:.1e}",
        f"{block.float32_rel:.1e}",
    )


def _norms(certificate: Certificate) -> int:
    return certificate.batchnorms_before + certificate.batchnorms_left


def _counts(certificate: Certificate) -> str:
    eps = ", ".join(f"{value:g}" for value in certificate.bn_eps) or "none"
    return (
        f"{certificate.architecture}, {certificate.source_format}: "
        f"{certificate.branches_before} branches with {certificate.batchnorms_before} BatchNorms "
        f"(eps {eps}) became {len(certificate.blocks)} layers. A run calls "
        f"{certificate.convolutions_after} convolutions and linear layers, and called "
        f"{certificate.convolutions_before}; BatchNorms {certificate.batchnorms_left}, and "
        f"{_norms(certificate)}. {certificate.parameters_before:,} parameters became "
        f"{certificate.parameters_after:,}."
    )


def _network(certificate: Certificate) -> str:
    network = certificate.network
    if not network.decidable:
        return (
            f"The whole network is chaotic: its own float32 run is off by "
            f"{network.unfused_float32_rel:.1e} (relative L2) from its float64 run, so that no "
            f"comparison of the whole says anything; each layer above is proven by itself."
        )
    return (
        f"Whole network on {list(network.batch_shape)}, relative to itself unfused in float64: "
        f"fused in float64 {network.float64_rel:.1e}; as deployed {network.fused_float32_rel:.1e} "
        f"fused, {network.unfused_float32_rel:.1e} unfused."
    )
