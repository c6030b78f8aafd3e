"""The report: well-formed, self-contained, escaped, and complete."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from edgerep.bench.report.html.markup import Markup, join, tag
from edgerep.bench.report.html.page import render_html
from edgerep.bench.report.html.plots import forest_plot, strip_plot

EVIL = "<script>alert(1)</script>\"'&"
VOID = {"meta", "br"}

BATCH = {"batch": 8, "max_abs": 0.5, "rel_l2": 4.4e-4, "sqnr_db": None, "cosine": 0.9999991,
         "top1_agreement": 0.995, "passed": True}  # fmt: skip
CASE = {
    "key": "fused/onnxruntime/fp32/b1", "form": "fused", "batch": 1, "p50_ms": 2.0, "p90_ms": 2.5,
    "p99_ms": None, "throughput_per_s": 500.0, "how": "ONNX Runtime",
    "memory": {"weights_bytes": 2048, "peak_bytes": None, "how": "not measured"},
    "samples_ms": [1.5, 2.0, 2.0, 2.5], "samples_per_round": 1,
}  # fmt: skip
INT8 = {
    "chosen": "equalised 0.5 + rounding", "equalised_channels": 8, "images": 20, "held_out": 5,
    "candidates": [{"name": name, "sqnr_db": db, "worst_db": db, "parts": 1, "agreement": 0.99}
                   for name, db in (("plain", 21.5), ("equalised 0.5 + rounding", 33.25))],
    "layers": [{"name": "stage1", "operator": "Conv", "input_step": 0.1,
                "sqnr_db": {"plain": 18.0, "equalised 0.5 + rounding": 36.0}},
               {"name": "linear", "operator": "Gemm", "input_step": 0.1, "sqnr_db": {}}],
    "kept": {"stage0": "asked for"}, "not_equalised": {},
}  # fmt: skip
DOCUMENT: dict[str, Any] = {
    "title": "RepVGG-A0",
    "deploy": {"source": "a0.pth", "options": {"batch": [1, 8]}},
    "fuse": {
        "architecture": "RepVGG-A0", "source_format": "official", "parameters_before": 9108968,
        "parameters_after": 8309384,
        "blocks": [{"name": "stage0", "kind": "3x3 + 1x1", "branches": 2, "float64_max_abs": 2e-15,
                    "float64_rel": 1e-16, "float32_rel": 3e-8}],
        "left_unfused": [{"name": "stage9", "reason": "a gate before its sum"}],
    },
    "verify": {
        "passed": False,
        "reference": "a0.pth",
        "artefacts": [
            {"path": "a0.onnx", "runtime": "onnxruntime", "precision": "fp32", "ran": True,
             "how": "ONNX Runtime", "passed": True, "tolerance": {"rel_l2": 1e-3},
             "batches": [BATCH]},
            {"path": "b0.onnx", "runtime": "onnxruntime", "precision": "fp32", "ran": True,
             "how": "ONNX Runtime", "passed": False, "tolerance": None,
             "batches": [{**BATCH, "passed": False}]},
            {"path": "a0.engine", "runtime": "tensorrt", "ran": False, "why_not": "no GPU here",
             "passed": None, "batches": []},
        ],
    },
    "bench": {
        "environment": {"date": "2026-01-02T03:04:05+00:00", "cpu": {"model": "Cortex-A78AE"}},
        "settings": {"rounds": 30},
        "cases": [CASE, {**CASE, "key": "unfused/onnxruntime/fp32/b1", "form": "unfused"}],
        "ratios": [{"of": "fused/onnxruntime/fp32/b1", "over": "unfused/onnxruntime/fp32/b1",
                    "ratio": 1.234, "ci95": [1.1, 1.4], "verdict": "faster"}],
        "not_run": [{"subject": "a0.mlpackage", "why": "Core ML runs on macOS only"}],
        "warnings": ["the machine was busy"],
    },
    "artefacts": [{"path": "a0.onnx", "kind": "onnx", "size_bytes": 3 * 1024**2,
                   "sha256": "ab" * 32,
                   "made_from": [{"kind": "checkpoint", "name": "a0.pth", "sha256": "cd" * 32}],
                   "range": {
                       "measured_on": "calibration images", "count": 37, "limit": 65504.0,
                       "layers": [{"name": "conv_7", "operator": "Conv", "low": -11.5,
                                   "high": 812.25, "typical": 0.375, "before": 3.5e6}],
                       "rescaled": {"channels": 48, "largest": 4096.0, "smallest": 1.0},
                       "kept_fp32": ["conv_7"], "warnings": ["`conv_9` reaches 2e+04"]},
                   "int8": INT8},
                  {"path": "a0.engine", "kind": "engine", "made_from": [
                      {"kind": "onnx", "name": "a0.onnx", "options": {"int8": INT8}}]}],
    "accuracy": [{"form": "fused", "runtime": "torch", "precision": "fp32", "correct": 7241,
                  "total": 10000}],
}  # fmt: skip


class Reader(HTMLParser):
    """Checks that every element is closed in order, and collects what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attrs
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attrs

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def with_everything(document: Any, text: str) -> Any:
    """The document with every string replaced."""
    if isinstance(document, dict):
        return {key: with_everything(value, text) for key, value in document.items()}
    if isinstance(document, list):
        return [with_everything(value, text) for value in document]
    return text if isinstance(document, str) else document


def test_every_section_shows_its_facts() -> None:
    reader = read(render_html(DOCUMENT))
    text = " ".join(reader.text)
    for expected in (
        "Fusion certificate", "9,108,968 before, 8,309,384 after", "a gate before its sum",
        "Artefacts", "3.0 MiB", "cdcdcdcdcdcd", "Parity", "4.4e-04 of 1.0e-03", "99.5%",
        "disagrees", "not run", "no GPU here", "Accuracy", "72.41%", "Benchmark", "1.23x",
        "1.10 to 1.40", "the machine was busy", "2.0 KiB", "Environment", "Cortex-A78AE",
        "What ran where", "Core ML runs on macOS only", "Deployment",
        "Measured 2026-01-02T03:04:05+00:00", "Range of float16", "37 calibration images",
        "48 channels rescaled", "conv_7", "812", "3.5e+06", "`conv_9` reaches 2e+04",
        "INT8", "stage1: plain 18.0, equalised 0.5 + rounding 36.0", "33.2",
        "linear: nothing is known", "In floating point: 1", "asked for",
    ):  # fmt: skip
        assert expected in text, expected
    assert reader.tags.count("svg") == 3, "latencies, speed-ups, and one graph in eight bits"


def test_tiles_say_the_verdicts() -> None:
    html = render_html(DOCUMENT)
    tiles = re.findall(r'<div class="tile ?(\w*)"><div class="name">([^<]*)</div>'
                       r'<div class="value">([^<]*)</div>', html)  # fmt: skip
    assert tiles == [
        ("wait", "Fusion", "1 of 2 blocks"),
        ("bad", "Parity", "1 of 2 agree"),
        ("good", "Largest speed-up", "1.23x"),
        ("", "Accuracy, top-1", "72.41%"),
    ]


def test_a_speed_up_within_noise_is_none() -> None:
    bench = {**DOCUMENT["bench"]}
    bench["ratios"] = [{**bench["ratios"][0], "ci95": [0.9, 1.4], "verdict": "no difference"}]
    html = render_html({"bench": bench})
    assert '<div class="value">none</div>' in html
    assert "0 of 1 comparisons are faster" in html


def parity_rows(**artefact: Any) -> list[list[str]]:
    """The cells of each row of the section on parity, of one artefact."""
    one = {**DOCUMENT["verify"]["artefacts"][0], **artefact}
    html = render_html({"verify": {"artefacts": [one]}})
    start = html.index("<h2>Parity</h2>")
    rows = re.findall(r"<tr>(.*?)</tr>", html[start:], re.DOTALL)[1:]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[re.sub("<[^>]*>", "", cell) for cell in row] for row in cells if len(row) == 10]


def test_sizes_that_agree_are_one_row_with_the_figures_of_the_worst() -> None:
    batches = [{**BATCH, "batch": size, "rel_l2": 1e-6 * size} for size in range(1, 9)]
    batches[3]["passed"] = False
    (passed, failed) = parity_rows(batches=batches)
    assert (passed[3], passed[5], passed[9]) == ("1-3, 5-8", "8.0e-06 of 1.0e-03", "agrees")
    assert (failed[3], failed[5], failed[9]) == ("4", "4.0e-06 of 1.0e-03", "disagrees")
    assert len(parity_rows(batches=batches[:4])) == 4


def test_what_nothing_can_be_said_of_and_what_overflows_are_no_plain_failures() -> None:
    batches = [{**BATCH, "passed": False}]
    assert [row[9] for row in parity_rows(batches=batches)] == ["disagrees"]
    tolerance = {"rel_l2": 1e-3, "decidable": False}
    assert [row[9] for row in parity_rows(batches=batches, tolerance=tolerance)] == ["undecidable"]
    assert [row[9] for row in parity_rows(batches=[BATCH], overflow="too large")] == ["overflows"]


def test_notes_stand_below_the_figures() -> None:
    one = {**DOCUMENT["verify"]["artefacts"][0], "notes": ["3 of 5 images", "a <choice>"]}
    html = render_html({"verify": {"artefacts": [one]}})
    assert "<li><code>a0.onnx</code>: 3 of 5 images</li>" in html
    assert "a &lt;choice&gt;" in html


def test_an_artefact_that_was_not_run_has_not_passed() -> None:
    verify = {"artefacts": [DOCUMENT["verify"]["artefacts"][2]]}
    html = render_html({"verify": verify})
    assert "0 of 0 agree" in html
    assert "1 not run on this machine" in html
    assert 'class="tile wait"' in html
    assert ">agrees<" not in html


def test_everything_from_outside_is_escaped() -> None:
    reader = read(render_html(with_everything(DOCUMENT, EVIL)))
    assert "script" not in reader.tags
    assert not any(name.startswith("on") for name, _ in reader.attributes)
    assert EVIL in "".join(reader.text)
    keyed = read(render_html({"bench": {"environment": {EVIL: {EVIL: EVIL}}, "cases": []}}))
    assert "script" not in keyed.tags


def test_nothing_is_loaded_from_outside() -> None:
    html = render_html(DOCUMENT)
    reader = read(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert not {"src", "href", "style"} & {name for name, _ in reader.attributes}
    assert "url(" not in html
    assert "@import" not in html


@pytest.mark.parametrize("name", sorted(DOCUMENT))
def test_every_section_is_optional(name: str) -> None:
    read(render_html({key: value for key, value in DOCUMENT.items() if key != name}))
    read(render_html({name: DOCUMENT[name]}))


def test_no_document_is_a_page_too() -> None:
    assert "edgerep report" in " ".join(read(render_html({})).text)


def test_sparse_results_are_shown_with_dashes() -> None:
    sparse = {
        "fuse": {"blocks": [{}]},
        "verify": {"artefacts": [{}, {"ran": True, "batches": [{}]}]},
        "bench": {"cases": [{}], "ratios": []},
        "artefacts": [{}],
        "accuracy": [{}],
    }
    assert "–" in "".join(read(render_html(sparse)).text)  # noqa: RUF001 (what is shown for null)


def test_environment_leaves_out_what_could_not_be_read() -> None:
    environment: dict[str, Any] = {
        "memory_bytes": 2 * 1024**3,
        "board": None,
        "gpus": [],
        "temperatures_c": {},
        "cpu": {"model": "Cortex", "cores_allowed": 6, "boost": None},
    }
    text = "|".join(read(render_html({"bench": {"environment": environment}})).text)
    assert "|memory|2.0 GiB|" in text
    assert "|model Cortex, cores allowed 6|" in text
    assert "board" not in text
    assert "gpus" not in text
    assert "temperatures" not in text


def test_dark_and_print_have_styles() -> None:
    html = render_html({})
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media print" in html


def test_document_survives_json() -> None:
    assert render_html(json.loads(json.dumps(DOCUMENT))) == render_html(DOCUMENT)


def positions(svg: str, pattern: str) -> list[float]:
    return [float(value) for value in re.findall(pattern, svg)]


def test_forest_plot_places_estimates_right_of_one() -> None:
    ratios = [
        {"of": "a", "over": "b", "ratio": x, "ci95": [x - 0.1, x + 0.1], "verdict": verdict}
        for x, verdict in ((1.5, "faster"), (0.7, "slower"), (1.0, "no difference"))
    ]
    svg = forest_plot(ratios)
    (unity,) = positions(svg, r'class="unity" x1="([\d.]+)"')
    better, worse, equal = (x + 5 for x in positions(svg, r'<rect x="([\d.]+)"'))
    assert worse < unity < better
    assert equal == pytest.approx(unity, abs=0.02)
    assert re.findall(r'class="forest (\w+)"', svg) == ["good", "bad", "even"]


def test_strip_plot_draws_every_sample_of_a_short_case() -> None:
    svg = strip_plot([{**CASE, "samples_ms": [float(value) for value in range(1, 51)]}])
    # The slowest is beyond the axis, which ends at the 99th percentile and its round number.
    drawn = positions(svg, r'<circle cx="([\d.]+)"')
    assert len(drawn) == 50
    assert drawn == sorted(drawn)


def test_strip_plot_of_many_samples_stays_small() -> None:
    svg = strip_plot([{**CASE, "samples_ms": [1.0 + index % 7 for index in range(5000)]}])
    assert 350 < svg.count("<circle") <= 400


def test_markup_escapes_what_it_did_not_make() -> None:
    assert tag("p", "<", tag("b", "&"), None, 3, class_="a\"b") == (
        '<p class="a&quot;b">&lt;<b>&amp;</b>3</p>'
    )  # fmt: skip
    assert join("<", Markup("<i>")) == "&lt;<i>"
    assert tag("line", x1=1.0, y_a=2.345, title=None) == '<line x1="1" y-a="2.35"/>'


def test_emulated_runs_are_rows_of_their_own_and_those_for_information_say_so() -> None:
    output = {"name": "logits", "tolerance": {"rel_l2": 1e-3, "decidable": True},
              "batches": [{**BATCH, "batch": 1, "rel_l2": 2e-4}]}  # fmt: skip
    emulated = [
        {"accumulators": "float32", "decides": True, "outputs": [output], "passed": True},
        {"accumulators": "float16", "decides": False, "outputs": [output], "passed": True},
    ]
    rows = parity_rows(batches=[BATCH], emulated=emulated)
    assert [row[1] for row in rows[1:]] == ["emulated, float32 sums", "emulated, float16 sums"]
    assert [row[9] for row in rows[1:]] == ["agrees", "for information"]
    assert all(row[5] == "2.0e-04 of 1.0e-03" for row in rows[1:])


def test_int8_is_shown_beside_the_signal_to_noise_that_it_is_held_to() -> None:
    batch = {**BATCH, "batch": 1, "rel_l2": 2e-2, "sqnr_db": 36.9}
    bounds = {"rel_l2": None, "least_sqnr_db": 31.59}
    output = {"name": "logits", "tolerance": bounds, "batches": [batch]}
    emulated = [{"accumulators": "float32", "decides": True, "outputs": [output], "passed": True}]
    (row,) = parity_rows(batches=[BATCH], emulated=emulated)[1:]
    assert (row[5], row[6]) == ("2.0e-02", "36.9 ≥ 31.6")
    batch.update(sqnr_db=20.0, passed=False)
    (row,) = parity_rows(batches=[BATCH], emulated=emulated)[1:]
    assert row[6] == "20.0, 31.6 asked for"


def test_a_range_that_was_not_measured_says_why() -> None:
    ranges: dict[str, Any] = {
        "measured_on": None,
        "why_not": "onnxruntime is not installed",
        "kept_fp32": [],
    }
    html = render_html({"artefacts": [{"path": "a.onnx", "range": ranges}]})
    assert "not measured: onnxruntime is not installed" in html
