"""What a file is, by its suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgerep.artefacts.kinds import CHECKPOINT_SUFFIXES, ENGINE_SUFFIXES, kind_of, suffixes_of


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/net.onnx", "onnx"),
        (Path("net.ONNX"), "onnx"),
        ("net.mlpackage", "coreml"),
        ("net.tar.gz", None),
        ("repvgg_a0", None),
        ("-", None),
        *((f"net{suffix}", "engine") for suffix in ENGINE_SUFFIXES),
        *((f"net{suffix}", "weights") for suffix in CHECKPOINT_SUFFIXES),
    ],
)
def test_a_suffix_says_the_kind(path: str | Path, kind: str | None) -> None:
    assert kind_of(path) == kind


def test_suffixes_are_listed_for_messages() -> None:
    assert suffixes_of("onnx", "coreml") == ".onnx, .mlpackage"
    assert suffixes_of("engine") == ", ".join(ENGINE_SUFFIXES)
