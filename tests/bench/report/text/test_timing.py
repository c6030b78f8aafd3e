"""The bench result as text."""

from __future__ import annotations

from dataclasses import replace

from edgerep.bench.memory.memory import Memory
from edgerep.bench.report.text.timing import bench_tables
from edgerep.bench.timing.cases import BenchResult, Case, NotRun, Ratio
from edgerep.bench.timing.rounds import Samples

CASE = Case(
    key="fused/torch/fp32/b2", name="a0", form="fused", backend="torch", precision="fp32", batch=2,
    samples=Samples(((1_500_000, 2_500_000), (2_000_000, 2_000_000))), how="by hand",
    memory=Memory(3 * 1024 * 1024, 0, None, "by hand"),
)  # fmt: skip
RESULT = BenchResult(
    environment={},
    settings={},
    cases=(CASE, replace(CASE, key="unfused/torch/fp32/b2", memory=None)),
    ratios=(Ratio(CASE.key, "unfused/torch/fp32/b2", 1.256, (0.9912, 1.4), "no difference"),),
    not_run=(NotRun("a0.engine", "no GPU here"),),
    warnings=("the machine was busy",),
)


def test_whole_text() -> None:
    assert (
        bench_tables(RESULT)
        == """\
case                   p50 ms  p90 ms  p99 ms  images/s  weights MiB  peak MiB  n
---------------------  ------  ------  ------  --------  -----------  --------  -
fused/torch/fp32/b2     2.000   2.350       -    1000.0          3.0         -  4
unfused/torch/fp32/b2   2.000   2.350       -    1000.0            -         -  4

case                 over                   speed-up  95 % interval  verdict
-------------------  ---------------------  --------  -------------  -------------
fused/torch/fp32/b2  unfused/torch/fp32/b2     1.26x   0.99 to 1.40  no difference

not timed  why
---------  -----------
a0.engine  no GPU here

Warning: the machine was busy"""
    )


def test_empty_parts_are_left_out() -> None:
    assert bench_tables(replace(RESULT, cases=(), ratios=(), not_run=())) == (
        "Warning: the machine was busy"
    )


def test_names_cannot_drive_the_terminal() -> None:
    text = bench_tables(replace(RESULT, not_run=(NotRun("a\x1b[2J\nb", "c\rd"),)))
    assert "\x1b" not in text
    assert "\r" not in text
    assert r"a\x1b[2J\nb  c\rd" in text
