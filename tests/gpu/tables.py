"""Markdown tables of what prove.py wrote: `python tests/gpu/tables.py RESULTS > TABLES.md`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MIB = 1 << 20
FORMS = ("unfused", "fused")


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A page of the stages' results, by name; stages that are not there are left out."""
    parts = [f"# Measured on {_machine(results)}"]
    sections = (("torch", _torch), ("ceiling", _ceiling), ("rtx", _engines),
                ("tensorrt", _engines), ("int8", _int8), ("range", _range),
                ("context", _context))  # fmt: skip
    for stage, section in sections:
        if stage not in results:
            continue
        found = results[stage]
        parts.append(f"## {stage}")
        if "not_run" in found:
            parts.append(f"Not run, or not to the end: {found['not_run']}")
        elif not found["done"]:
            parts.append("Stopped before its end; what it had found until then:")
        parts += section(found, results.get("ceiling", {}))
    return "\n\n".join(parts) + "\n"


def _machine(results: Mapping[str, Mapping[str, Any]]) -> str:
    about: Mapping[str, Any] = next((found["environment"] for found in results.values()), {})
    gpus = [gpu["name"] for gpu in about.get("gpus") or () if gpu.get("name")]
    versions = ", ".join(f"{k} {v}" for k, v in about.get("versions", {}).items() if v)
    return f"{', '.join(gpus) or 'no GPU'} ({versions}; {about.get('date', 'no date')})"


def _torch(found: Mapping[str, Any], ceiling: Mapping[str, Any]) -> Iterator[str]:
    if "settings" not in found:
        return
    settings = ", ".join(f"{key} {value}" for key, value in found["settings"].items())
    yield f"Settings: {settings}. Cases left out for want of time: {found['left_out']}."
    yield _table(
        ("network", "device", "fusing s", "float64 rel. error", "worst site", "MMAC unfused",
         "MMAC fused"),
        [
            (f["network"], ", ".join(f["devices"]), f"{f['seconds']:.2f}",
             f"{f['network_float64_rel']:.1e}", f"{f['worst_site_float64_rel']:.1e}",
             f"{f['multiply_adds'] / 1e6:.1f}", f"{f['multiply_adds_fused'] / 1e6:.1f}")
            for f in found["fusions"]
        ],
    )  # fmt: skip
    work = {f["network"]: (f["multiply_adds"], f["multiply_adds_fused"]) for f in found["fusions"]}
    ran = [case for case in found["cases"] if "not_run" not in case]
    yield _table(
        ("network", "precision", "layout", "mode", "batch", "unfused ms", "fused ms",
         "times faster", "95 % interval", "rel. error unfused", "fused", "of ceiling unfused",
         "fused", "peak MiB unfused", "fused"),
        [
            (c["network"], c["precision"], c["layout"], c["mode"], str(c["batch"]),
             *(f"{c[f'{form}_p50_ms']:.3f}" for form in FORMS),
             f"{c['times_faster']:.2f}", "{:.2f} to {:.2f}".format(*c["ci95"]),
             *(f"{c[f'{form}_rel_l2']:.1e}" for form in FORMS),
             *_shares(c, work[c["network"]], ceiling),
             *(_mib(c[f"{form}_peak_bytes"]) for form in FORMS))
            for c in ran
        ],
    )  # fmt: skip
    failed = [case for case in found["cases"] if "not_run" in case]
    keys = ("network", "precision", "layout", "mode", "batch", "not_run")
    if failed:
        yield _table(keys, [tuple(str(case[key]) for key in keys) for case in failed])


def _shares(
    case: Mapping[str, Any], work: Sequence[int], ceiling: Mapping[str, Any]
) -> Iterator[str]:
    """Each form's multiplications and additions per second over the best plain product's."""
    best = ceiling.get(f"{case['precision']}_product_flops")
    for form, multiply_adds in zip(FORMS, work, strict=True):
        flops = 2 * multiply_adds * case[f"{form}_throughput_per_s"]
        yield f"{flops / best:.1%}" if best else "-"


def _ceiling(found: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    scales = (("_product_flops", 1e12, "TFLOP/s"), ("_bytes_per_s", 1e9, "GB/s"),
              ("_seconds", 1e-6, "µs"))  # fmt: skip
    rows = [
        (name.removesuffix(end).replace("_", " "), f"{value / scale:.3f} {unit}")
        for name, value in found.items()
        for end, scale, unit in scales
        if name.endswith(end)
    ]
    yield _table(("ceiling", "measured"), rows)


def _engines(found: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    engines = found.get("engines", ())
    if "tactic_sources" in found:
        yield f"TensorRT {found['version']}; {found['tactic_sources']}."
    rows = [
        (e["engine"], e["precision"], str(b["batch"]), _worded(b["passed"]),
         _small(b["rel_l2"]), _small(b["largest_rel_l2"]), f"{b['top1_agreement']:.1%}",
         f"{b['plain_p50_ms']:.3f}",
         f"{b['graph_p50_ms']:.3f}" if "graph_p50_ms" in b else "-",
         " ".join(map(_worded, b["stages_alive"])) or "-")
        for e in engines for b in e.get("batches", ())
    ]  # fmt: skip
    if rows:
        yield _table(
            ("engine", "precision", "batch", "agrees", "rel. error", "allowed", "top-1",
             "plain ms", "graph ms", "stages alive"), rows,
        )  # fmt: skip
    if against := found.get("against_unfused"):
        yield _table(
            ("engine", "batch", "unfused ms", "fused ms", "times faster", "95 % interval"),
            [(a["engine"], str(a["batch"]), *(f"{a[f'{form}_p50_ms']:.3f}" for form in FORMS),
              f"{a['times_faster']:.2f}", "{:.2f} to {:.2f}".format(*a["ci95"])) for a in against],
        )  # fmt: skip
    once = ("build_seconds", "build_again_seconds", "cold_start_seconds", "warm_start_seconds")
    rows = [
        (e["engine"], *(f"{e[key]:.2f}" if key in e else "-" for key in once),
         _mib(e.get("memory", {}).get("activations_bytes")), _valid(e.get("validity")),
         e.get("not_run", ""))
        for e in engines
    ]  # fmt: skip
    if rows:
        yield _table(
            ("engine", "build s", "again", "cold start s", "warm", "scratch MiB", "validity",
             "not run"), rows,
        )  # fmt: skip


def _int8(found: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    if "tactic_sources" in found:
        yield f"TensorRT {found['version']}; {found['tactic_sources']}."
    networks = found.get("networks", ())
    engines = [
        (n["network"], precision, f"{e['build_seconds']:.1f}", _mib(e["bytes"]),
         ", ".join(f"{count} {kind}" for kind, count in e["kinds"].items()), "")
        if "not_run" not in e else (n["network"], precision, "-", "-", "-", e["not_run"])
        for n in networks for precision, e in n["engines"].items()
    ]  # fmt: skip
    if engines:
        yield _table(("network", "precision", "build s", "MiB", "layers", "not run"), engines)
    rows = [
        (n["network"], str(b["batch"]), key, *_agreement(b[key]),
         *(f"{b['p50_ms'][way]:.3f}" if way in b["p50_ms"] else "-"
           for way in (key, f"{key} graph")))
        for n in networks for b in n.get("batches", ())
        for key in ("int8", "int8+fp16", "fp16", "fp32", "int8_against_onnxruntime") if key in b
    ]  # fmt: skip
    if rows:
        yield _table(
            ("network", "batch", "engine", "SQNR dB", "agreement", "top-1", "plain ms", "graph ms"),
            rows,
        )
    faster = [
        (n["network"], str(b["batch"]), f"int8 {than}", f"{ratio['ratio']:.2f}",
         "{:.2f} to {:.2f}".format(*ratio["ci95"]))
        for n in networks for b in n.get("batches", ())
        for than, ratio in b["int8_times_faster"].items()
    ]  # fmt: skip
    if faster:
        yield _table(("network", "batch", "what", "times faster", "95 % interval"), faster)


def _range(found: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (n["network"], graph, f"{e['finite_answers']:.0%}", _small(e["largest"]),
         *(_agreement(e["figures"]) if e["figures"] else ("-", "-", "-")), "")
        if "not_run" not in e else (n["network"], graph, *["-"] * 5, e["not_run"])
        for n in found.get("networks", ()) for graph, e in n["engines"].items()
    ]  # fmt: skip
    if rows:
        yield _table(
            ("network", "float16 graph", "finite answers", "largest", "SQNR dB", "agreement",
             "top-1", "not run"), rows,
        )  # fmt: skip


def _agreement(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    sqnr, top1 = figures["sqnr_db"], figures["top1"]
    return (
        "-" if sqnr is None else f"{sqnr:.1f}",
        f"{figures['agreement']:.2%}",
        "-" if top1 is None else f"{top1:.2%}",
    )


def _context(found: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[str]:
    keys = ("engine", "cycles", "lost_bytes", "outputs_are_copies", "torch_unchanged")
    if "cycles" in found:
        yield _table(keys, [tuple(str(found.get(key, "-")) for key in keys)])


def _valid(validity: Mapping[str, Any] | None) -> str:
    return "; ".join([validity["verdict"], *validity["reasons"]]) if validity else "-"


def _worded(value: bool) -> str:
    return "yes" if value else "NO"


def _small(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.1e}"


def _mib(count: int | None) -> str:
    return "-" if count is None else f"{count / MIB:.1f}"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    found = {path.stem: json.loads(path.read_text()) for path in options.results.glob("*.json")}
    if not found:
        sys.exit(f"{options.results} holds no result of prove.py")
    sys.stdout.write(render(found))


if __name__ == "__main__":
    main()
