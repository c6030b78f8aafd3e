"""The declared shapes as JSON Schema files in docs/schemas; run as a script, it writes them."""

from __future__ import annotations

import json
from pathlib import Path

from edgerep.outside.declared import ONNX_NOTE, PACKAGE_MANIFEST, PACKAGE_NOTE, RECORD
from edgerep.outside.results import RESULTS
from edgerep.outside.shapes import Shape, json_schema

FOLDER = Path(__file__).parents[2] / "docs/schemas"
SHAPES: dict[str, tuple[str, Shape]] = {
    "record": ("The record that lies beside an artefact", RECORD),
    "onnx-note": ("The metadata `edgerep` of an ONNX file", ONNX_NOTE),
    "package-note": ("The metadata `edgerep.note` of a Core ML package", PACKAGE_NOTE),
    "package-manifest": ("Manifest.json of a Core ML package", PACKAGE_MANIFEST),
    **{name: (f"The JSON of `edgerep {name}`", shape) for name, _, shape in RESULTS},
}


def document(name: str) -> str:
    """The text of a published schema."""
    title, shape = SHAPES[name]
    draft = "https://json-schema.org/draft/2020-12/schema"
    fields = {"$schema": draft, "title": title, **json_schema(shape)}
    return json.dumps(fields, indent=1) + "\n"


if __name__ == "__main__":
    for name in SHAPES:
        (FOLDER / f"{name}.schema.json").write_text(document(name), encoding="utf-8")
