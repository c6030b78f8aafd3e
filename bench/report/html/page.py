"""One self-contained HTML file from JSON results: no script, no font, no image from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgerep import __version__
from edgerep.bench.report.html.markup import Markup, join, tag
from edgerep.bench.report.html.parity import parity_section
from edgerep.bench.report.html.parts import Fields, number, tile
from edgerep.bench.report.html.quantisation import quantisation_section
from edgerep.bench.report.html.ranges import ranges_section
from edgerep.bench.report.html.sections import (
    accuracy_section,
    artefacts_section,
    deploy_section,
    fusion_section,
    ran_section,
    targets_section,
)
from edgerep.bench.report.html.style import STYLE
from edgerep.bench.report.html.timing import bench_section, environment_section


def render_html(document: Fields) -> str:
    """A complete HTML page; every string in `document` is escaped.

    Args:
        document: `title`, and any of: `deploy` (a deployment's JSON), `fuse`, `verify` and `bench`
            (the JSON of these commands), `artefacts` (list of {`path`, `kind`, `size_bytes`,
            `sha256`, `made_from`, `range`}), `accuracy` (list of {`form`, `runtime`, `precision`,
            `correct`, `total`}), `targets` and `failures` (lists of a deployment).
            Sections that are absent or empty are left out.
    """
    title = str(document.get("title") or "edgerep report")
    fuse, verify, bench = (document.get(name) or {} for name in ("fuse", "verify", "bench"))
    accuracy = document.get("accuracy") or ()
    artefacts = document.get("artefacts") or ()
    deploy = document.get("deploy") or {}
    environment = bench.get("environment") or {}
    targets, failures = (document.get(name) or () for name in ("targets", "failures"))
    sections = [
        targets_section(targets, failures) if targets or failures else None,
        fusion_section(fuse) if fuse else None,
        artefacts_section(artefacts) if artefacts else None,
        quantisation_section(artefacts),
        parity_section(verify) if verify else None,
        ranges_section(artefacts),
        accuracy_section(accuracy) if accuracy else None,
        bench_section(bench) if bench else None,
        ran_section(verify, bench),
        environment_section(environment, bench.get("settings") or {}) if environment else None,
        deploy_section(deploy) if deploy else None,
    ]
    when = environment.get("date") or deploy.get("created")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    body = tag(
        "main",
        tag("h1", title),
        tag("p", f"Measured {when}" if when else "", class_="lead"),
        tag("div", *_tiles(targets, fuse, verify, bench, accuracy), class_="tiles"),
        *sections,
        tag("footer", f"Made by edgerep {__version__} from JSON results; nothing was trimmed."),
    )
    return "<!doctype html>\n" + join(tag("html", head, tag("body", body), lang="en")) + "\n"


def _tiles(
    targets: Sequence[Fields],
    fuse: Fields,
    verify: Fields,
    bench: Fields,
    accuracy: Sequence[Fields],
) -> Iterator[Markup]:
    """The answers a reader came for, before any table."""
    if targets and any(one.get("state") != "made" for one in targets):
        lacking = [one for one in targets if one.get("state") != "made"]
        refused = any(one.get("state") == "refused" for one in lacking)
        yield tile(
            "Targets",
            f"{len(targets) - len(lacking)} of {len(targets)} made",
            "not made: " + ", ".join(str(one.get("path")) for one in lacking),
            "bad" if refused else "wait",
        )
    if blocks := fuse.get("blocks"):
        yield _fusion_tile(fuse, len(blocks))
    if results := verify.get("artefacts"):
        yield _parity_tile(results)
    if ratios := bench.get("ratios"):
        yield _speed_tile(ratios)
    counted = [one for one in accuracy if one.get("total")]
    if counted:
        shares = [one["correct"] / one["total"] for one in counted]
        yield tile(
            "Accuracy, top-1",
            f"{min(shares):.2%}" if min(shares) == max(shares) else f"≥ {min(shares):.2%}",
            f"least of {len(counted)} measured; the best has {max(shares):.2%}",
        )


def _fusion_tile(fuse: Fields, count: int) -> Markup:
    errors = [block.get("float64_max_abs") for block in fuse["blocks"]]
    worst = max((error for error in errors if isinstance(error, float)), default=None)
    left = len(fuse.get("left_unfused", ()))
    return tile(
        "Fusion",
        f"{count} of {count + left} blocks",
        f"largest error of a block in float64: {number(worst, '.1e')}",
        "wait" if left else "good",
    )


def _parity_tile(results: Sequence[Fields]) -> Markup:
    ran = [one for one in results if one.get("ran")]
    agreeing = sum(bool(one.get("passed")) for one in ran)
    waiting = len(results) - len(ran)
    kind = "bad" if agreeing < len(ran) else "wait" if waiting else "good"
    return tile(
        "Parity",
        f"{agreeing} of {len(ran)} agree",
        f"{waiting} not run on this machine" if waiting else "every artefact was run",
        kind,
    )


def _speed_tile(ratios: Sequence[Fields]) -> Markup:
    faster = [ratio for ratio in ratios if ratio.get("verdict") == "faster"]
    count = f"{len(faster)} of {len(ratios)} comparisons are faster"
    if not faster:
        return tile("Largest speed-up", "none", f"{count}, by their 95 % intervals")
    best = max(faster, key=lambda ratio: float(ratio["ratio"]))
    low, high = best["ci95"]
    return tile(
        "Largest speed-up",
        f"{best['ratio']:.2f}x",
        f"{best['of']} over {best['over']}, 95 % interval {low:.2f} to {high:.2f}; {count}",
        "good",
    )
