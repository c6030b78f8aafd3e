"""A bench result as plain text, for a terminal."""

from __future__ import annotations

from edgerep.bench.report.text.table import table
from edgerep.bench.timing.cases import BenchResult, Case, Ratio

_MIB = 1024 * 1024


def bench_tables(result: BenchResult) -> str:
    """Tables of everything in a bench result but the raw samples, and its warnings."""
    parts = []
    if result.cases:
        parts.append(table(_CASE_HEADERS, [_case_row(case) for case in result.cases], spare=_SPARE))
    if result.ratios:
        rows = [_ratio_row(ratio) for ratio in result.ratios]
        parts.append(table(("case", "over", "speed-up", "95 % interval", "verdict"), rows))
    if result.not_run:
        rows = [[_shown(one.subject), _shown(one.why)] for one in result.not_run]
        parts.append(table(("not timed", "why"), rows))
    parts += [f"Warning: {_shown(warning)}" for warning in result.warnings]
    return "\n\n".join(parts)


_CASE_HEADERS = ("case", "p50 ms", "p90 ms", "p99 ms", "images/s", "weights MiB", "peak MiB", "n")
_SPARE = ("images/s", "n", "p99 ms")  # the first to go on a narrow terminal


def _case_row(case: Case) -> list[str]:
    memory = case.memory
    return [
        _shown(case.key),
        f"{case.p50_ms:.3f}",
        f"{case.p90_ms:.3f}",
        "-" if case.p99_ms is None else f"{case.p99_ms:.3f}",
        f"{case.throughput_per_s:.1f}",
        _mib(memory.weights_bytes if memory else None),
        _mib(memory.peak_bytes if memory else None),
        str(len(case.samples.flat_ns)),
    ]


def _ratio_row(ratio: Ratio) -> list[str]:
    low, high = ratio.ci95
    return [
        _shown(ratio.of),
        _shown(ratio.over),
        f"{ratio.ratio:.2f}x",
        f"{low:.2f} to {high:.2f}",
        _shown(ratio.verdict),
    ]


def _mib(count: int | None) -> str:
    return "-" if count is None else f"{count / _MIB:.1f}"


def _shown(text: str) -> str:
    """`text` with control characters shown, not obeyed: names come from files that others made."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
