"""What was done to make a graph narrow, in lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MOST = 4  # names in a line


def quantisation_lines(options: Mapping[str, Any]) -> list[str]:
    """What quantising did and found, from the options of a graph; none for other graphs."""
    if (weights := options.get("int8-weights")) is not None:
        return _weight_lines(weights)
    if (fp8 := options.get("fp8")) is not None:
        return _fp8_lines(fp8)
    found = options.get("int8")
    if not found:
        return []
    taken = next(c for c in found["candidates"] if c["name"] == found["chosen"])
    plain = next((c for c in found["candidates"] if c["name"] == "plain"), taken)
    layers, kept = len(found["layers"]), found["kept"]
    lines = [
        f"{_counted(layers, 'layer')} in eight bits, {_how(found)} {found['chosen']}: "
        f"{_figures(taken)}" + (f" (plain: {_figures(plain)})" if taken is not plain else "")
    ]
    if kept:
        lines.append(f"in floating point: {_named(kept)}")
    if found["not_equalised"]:
        lines.append(f"not equalised: {_named(found['not_equalised'])}")
    return lines


def _weight_lines(found: Mapping[str, Any]) -> list[str]:
    worst = min(found["layers"], key=lambda layer: layer["sqnr_db"], default=None)
    mib = [found[name] / (1 << 20) for name in ("bytes_before", "bytes_after")]
    lines = [
        f"weights of {_counted(len(found['layers']), 'layer')} in eight bits: {mib[0]:.2f} MiB "
        f"became {mib[1]:.2f}"
        + (f"; worst {worst['name']}, {worst['sqnr_db']:.1f} dB" if worst else "")
    ]
    return [*lines, *([f"in floating point: {_named(found['kept'])}"] if found["kept"] else [])]


def _fp8_lines(found: Mapping[str, Any]) -> list[str]:
    by_name = {one["name"]: one for one in found["candidates"]}
    layers = _counted(len(found["layers"]), "layer")
    lines = [f"{layers} in E4M3, {_how(found)}: {_figures(by_name['fp8'])}"]
    if (better := found["better"]) is not None:
        lines.append(
            f"INT8 is closer to float32 here: {_figures(by_name[better])} ({better}). Take "
            f"--precision int8, unless FP8 is measurably faster for you"
        )
    if found["kept"]:
        lines.append(f"in floating point: {_named(found['kept'])}")
    return lines


def _how(found: Mapping[str, Any]) -> str:
    return f"calibrated on {_counted(found['images'], 'image')}; on {found['held_out']} held out,"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _figures(candidate: Mapping[str, Any]) -> str:
    agreement = candidate["agreement"]
    same = "" if agreement is None else f", {100 * agreement:.1f} % answered alike"
    worst = ""
    if candidate["parts"] > 1:
        worst = f" (worst of {candidate['parts']} outputs {candidate['worst_db']:.1f})"
    return f"{candidate['sqnr_db']:.1f} dB{worst}{same}"


def _named(reasons: Mapping[str, str]) -> str:
    some = [f"{name} ({why})" for name, why in list(reasons.items())[:_MOST]]
    if len(reasons) > _MOST:
        some.append(f"and {len(reasons) - _MOST} more")
    return "; ".join(some)
