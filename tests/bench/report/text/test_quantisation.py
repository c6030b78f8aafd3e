"""The lines that say what a narrower precision did."""

from __future__ import annotations

from edgerep.bench.report.text.quantisation import quantisation_lines


def test_int8_weights_say_what_was_saved_and_what_suffered() -> None:
    layers = [{"name": "a", "operator": "Conv", "sqnr_db": 40.0},
              {"name": "b", "operator": "Gemm", "sqnr_db": 30.25}]  # fmt: skip
    found = {"layers": layers, "kept": {"c": "as asked for"}, "bytes_before": 4 << 20,
             "bytes_after": 1 << 20}  # fmt: skip
    assert quantisation_lines({"int8-weights": found}) == [
        "weights of 2 layers in eight bits: 4.00 MiB became 1.00; worst b, 30.2 dB",
        "in floating point: c (as asked for)",
    ]


def test_other_graphs_say_nothing() -> None:
    assert quantisation_lines({"precision": "fp32"}) == []
