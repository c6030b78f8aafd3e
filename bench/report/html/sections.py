"""The report's sections, each from one JSON document; each is optional."""

from __future__ import annotations

from collections.abc import Sequence

from edgerep.bench.report.html.markup import Markup, join, tag
from edgerep.bench.report.html.parts import (
    NONE,
    Fields,
    badge,
    code,
    facts,
    folded,
    html_table,
    lines,
    number,
    plain,
    section,
    size_text,
    words,
)


def deploy_section(deploy: Fields) -> Markup:
    return section(
        "Deployment",
        "What was asked for, and what it was made from.",
        facts({words(name): plain(deploy[name]) for name in deploy if name != "schema"}),
    )


def targets_section(targets: Sequence[Fields], failures: Sequence[Fields]) -> Markup:
    """What became of every target that was asked for, and of the stages after the making."""
    kinds = {"made": "good", "refused": "bad", "missing": "wait"}
    rows: list[tuple[object, ...]] = [
        (
            one.get("target", NONE),
            one.get("precision", NONE),
            tag("code", one.get("path", NONE), class_="whole"),
            badge(str(one.get("state", NONE)), kinds.get(str(one.get("state")), "")),
            lines(one.get("why")),
        )
        for one in targets
    ]
    rows += [
        (one.get("stage", NONE), NONE, NONE, badge("failed", "bad"), lines(one.get("why")))
        for one in failures
    ]
    return section(
        "Targets",
        "What was asked for, and what could be made of it. A refused target is one that this "
        "network cannot go to exactly; a missing one needs a tool that is not installed here.",
        html_table(("target", "precision", "file", "result", "why not*"), rows),
    )


def fusion_section(fuse: Fields) -> Markup:
    blocks = fuse.get("blocks", ())
    left = fuse.get("left_unfused", ())
    network = fuse.get("network") or {}
    return section(
        "Fusion certificate",
        "Every block was folded in float64 and compared with the unfused block in float64 on "
        "random images. The float32 column is what rounding the folded weights costs.",
        facts(
            {
                "Architecture": fuse.get("architecture", NONE),
                "Source format": fuse.get("source_format", NONE),
                "Parameters": (
                    f"{number(fuse.get('parameters_before'), ',')} before, "
                    f"{number(fuse.get('parameters_after'), ',')} after"
                ),
                "Whole network, relative L2": (
                    f"{number(network.get('float64_rel'), '.1e')} in float64, "
                    f"{number(network.get('fused_float32_rel'), '.1e')} fused in float32, "
                    f"{number(network.get('unfused_float32_rel'), '.1e')} unfused in float32"
                    if network
                    else NONE
                ),
                "Left unfused": badge(str(len(left)), "wait" if left else "good"),
            }
        ),
        html_table(
            ("left unfused", "reason*"),
            [(code(one.get("name")), one.get("reason")) for one in left],
        )
        if left
        else None,
        folded(
            f"All {len(blocks)} blocks" if len(blocks) > 1 else "The block",
            html_table(
                ("block", "branches*", "float64 max abs#", "float64 rel#", "float32 rel#"),
                [
                    (
                        code(block.get("name")),
                        block.get("kind") or plain(block.get("branches")),
                        number(block.get("float64_max_abs"), ".1e"),
                        number(block.get("float64_rel"), ".1e"),
                        number(block.get("float32_rel"), ".1e"),
                    )
                    for block in blocks
                ],
            ),
        ),
    )


def artefacts_section(artefacts: Sequence[Fields]) -> Markup:
    return section(
        "Artefacts",
        "Every file, and the chain of files it was made from, nearest first.",
        html_table(
            ("file", "kind", "size#", "SHA-256", "made from*"),
            [
                (
                    code(one.get("path")),
                    one.get("kind", NONE),
                    size_text(one.get("size_bytes")),
                    _hash(one.get("sha256")),
                    _lineage(one.get("made_from") or ()),
                )
                for one in artefacts
            ],
        ),
    )


def accuracy_section(accuracy: Sequence[Fields]) -> Markup:
    return section(
        "Accuracy",
        "Top-1 on the labelled images that were given.",
        html_table(
            ("form", "runtime", "precision", "correct#", "of#", "top-1#"),
            [
                (
                    one.get("form", NONE),
                    one.get("runtime", NONE),
                    one.get("precision", NONE),
                    number(one.get("correct"), "d"),
                    number(one.get("total"), "d"),
                    _share(one),
                )
                for one in accuracy
            ],
        ),
    )


def ran_section(verify: Fields, bench: Fields) -> Markup | None:
    """What computed each answer, and what was asked for and not run; None with nothing to say."""
    rows: list[tuple[object, ...]] = []
    for one in verify.get("artefacts", ()):
        state = badge("ran", "good") if one.get("ran") else badge("not run", "wait")
        why = one.get("how") if one.get("ran") else one.get("why_not")
        rows.append(("parity", code(one.get("path")), state, why or NONE))
    for case in bench.get("cases", ()):
        rows.append(("benchmark", code(case.get("key")), badge("ran", "good"), case.get("how")))
    for one in bench.get("not_run", ()):
        state = badge("not run", "wait")
        rows.append(("benchmark", code(one.get("subject")), state, one.get("why")))
    if not rows:
        return None
    return section(
        "What ran where, and what did not run",
        "What was not run here has neither passed nor failed.",
        html_table(("for", "what", "", "by what, or why not*"), rows),
    )


def _share(one: Fields) -> str:
    correct, total = one.get("correct"), one.get("total")
    return f"{correct / total:.2%}" if isinstance(correct, int) and total else NONE


def _hash(text: object) -> Markup:
    return tag("code", str(text)[:12] if text else NONE, title=text)


def _lineage(entries: Sequence[Fields]) -> Markup:
    links = []
    for entry in entries:
        links.append(f"{entry.get('kind', '')} {entry.get('name', '')} ".lstrip())
        links.append(_hash(entry["sha256"]) if entry.get("sha256") else "")
        links.append(" ← ")
    return join(*links[:-1]) if links else join(NONE)
