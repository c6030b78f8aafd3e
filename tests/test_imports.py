"""Imports point down: who may import whom, held against every import of the project."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import edgerep
from house import Rules, read_sources, violations

ROOT = Path(__file__).parents[1]

# From the ground up: each room and what it may import, itself apart; docs/architecture.md draws it.
_FILES = {"errors", "outside", "artefacts"}
_TO_DATA = {*_FILES, "data"}
_NETWORKS = {"errors", "torch_modules", "networks"}
_TO_FUSION = {*_TO_DATA, *_NETWORKS, "devices", "fusion"}
_TO_EXPORT = {*_TO_FUSION, "checkpoints", "export"}
HOUSE = Rules(
    floors={
        "errors": (),
        "devices": (),
        "torch_modules": (),
        "outside": {"errors"},
        "artefacts": {"errors", "outside"},
        "networks": {"errors", "torch_modules"},
        "data": _FILES,
        "checkpoints": {*_FILES, "torch_modules", "networks"},
        "fusion.trace": {"errors", "torch_modules"},
        "fusion.algebra": {"errors", "torch_modules"},
        "fusion.operators": {*_NETWORKS, "fusion.trace", "fusion.algebra"},
        "fusion.regions": {*_NETWORKS, "fusion.trace", "fusion.algebra", "fusion.operators"},
        "fusion.proof": {
            *_NETWORKS, "fusion.trace", "fusion.algebra", "fusion.operators", "fusion.regions"
        },
        "fusion": {
            *_NETWORKS, "fusion.trace", "fusion.algebra", "fusion.operators", "fusion.regions",
            "fusion.proof",
        },
        "fusion.fused": {*_NETWORKS, "fusion"},
        # Of the checkpoints, only how they are spelt: for the names of fused weights.
        "export.fused_weights": {*_TO_FUSION, "checkpoints.spelling", "checkpoints.formats"},
        "export.graph": _TO_DATA,
        "export.precision": {*_TO_DATA, "export.graph"},
        "export.from_torch": {*_TO_FUSION, "export.graph", "export.precision"},
        "export.engine": {*_TO_DATA, "devices", "export.graph"},
        "export.coreml": {*_TO_DATA, "export.graph"},
        "bench.machine": {*_FILES, "devices"},
        "bench.sessions": _TO_EXPORT,
        "bench.accuracy": {*_TO_EXPORT, "bench.sessions"},
        "bench.parity": {*_TO_EXPORT, "bench.sessions"},
        "bench.memory": {*_TO_EXPORT, "bench.sessions"},
        "bench.timing": {
            *_TO_EXPORT, "bench.machine", "bench.sessions", "bench.parity", "bench.memory"
        },
        "bench.report.html": _FILES,
        "bench.report.text": {
            "artefacts", "fusion.proof", "bench.accuracy", "bench.parity", "bench.memory",
            "bench.timing",
        },
        "export": (),
        "bench": (),
        "commands.shared": {*_TO_EXPORT, "bench"},
        "commands": {*_TO_EXPORT, "bench", "commands.shared"},
        "cli": {"errors", "commands"},
        "__main__": {"cli"},
    },
    vendors={
        "PIL": {"bench.sessions.coreml_session", "data.picture_decoding"},
        "click": {"cli", "commands"},
        "coremltools": {"export.coreml.quiet_coremltools"},
        "onnx": {"export", "bench.parity.quantised", "bench.parity.references", "bench.memory"},
        "onnx_ir": {"export.from_torch.exporter"},
        "onnxruntime": {"bench.sessions.onnxruntime_session", "export.precision.running"},
        "onnxscript": {"export.from_torch.exporter"},
        "pycuda": {"bench.sessions.engine.cuda"},
        "safetensors": {"checkpoints.reading", "export.fused_weights"},
        "tensorrt": {"export.engine.runtime"},
        "tensorrt_rtx": {"export.engine.runtime"},
        "torch": {
            "torch_modules", "networks", "checkpoints", "fusion", "export.from_torch",
            "export.fused_weights", "bench", "commands",
        },
        "torch.onnx": {"export.from_torch.exporter", "torch_modules.export_mode"},
    },
    bare={"outside", "artefacts", "bench.machine", "bench.report.html"},
)  # fmt: skip


def test_every_import_of_the_project_points_down() -> None:
    assert violations(read_sources(ROOT), HOUSE) == []


def test_packages_hold_one_line_of_docstring_and_no_code() -> None:
    sources = read_sources(ROOT)
    packages = {name for name in sources if any(other.startswith(f"{name}.") for other in sources)}
    for name in packages - {"edgerep"}:
        (only,) = ast.parse(sources[name]).body
        assert isinstance(only, ast.Expr), name
        assert len(sources[name].splitlines()) == 1, name


def test_no_folder_is_called_like_a_package_that_is_imported() -> None:
    # A shell that stands in its parent would import ours.
    folders = {part for name in read_sources(ROOT) for part in name.split(".")[1:-1]}
    packages = {vendor.partition(".")[0] for vendor in HOUSE.vendors} | {"ncnn", "cuda", "numpy"}
    assert not folders & packages


def test_no_module_is_called_like_a_public_name() -> None:
    modules = {
        part
        for name in read_sources(ROOT)
        if not name.startswith("edgerep.commands.")  # nothing imports from there but `cli.py`
        for part in name.split(".")[1:]
    }
    assert not modules & set(edgerep.__all__)


def test_public_names_are_the_same_for_people_python_and_type_checkers() -> None:
    tree = ast.parse((ROOT / "edgerep" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == edgerep._HOME
    assert sorted([*typed, "__version__"]) == edgerep.__all__


# A house of three rooms, in which each of the rules can be broken.
SMALL = Rules(
    floors={"ground": set(), "graph": {"ground"}, "top": {"ground", "graph"}},
    vendors={"tensorrt": {"graph.runtime"}, "torch": {"ground", "graph"}},
    bare={"graph.index"},
)
SOUND = {
    "edgerep": "from importlib import import_module\n__version__ = '1'\n",
    "edgerep.ground": "",
    "edgerep.ground.files": "from edgerep import __version__\nimport torch\n",
    "edgerep.graph": "",
    "edgerep.graph.index": "from edgerep.ground.files import write\n",
    "edgerep.graph.runtime": "def load():\n    import tensorrt\n",
    "edgerep.graph.deep": "",
    "edgerep.graph.deep.one": "from edgerep.graph import index\nindex.look()\n",
    "edgerep.top": "from edgerep.graph.runtime import load\n",
}


def test_a_sound_house_is_passed() -> None:
    assert violations(SOUND, SMALL) == []


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        ("ground.files", "from edgerep.graph.index import look", "ground may not import graph"),
        ("ground.files", "def f():\n    import edgerep.top", "ground may not import top"),
        ("ground.files", "import_module('edgerep.top')", "ground may not import top"),
        ("ground.files", "NAMES = ['-m', 'edgerep.graph.index']", "ground may not import graph"),
        ("ground.files", "from edgerep import load", "load, by way of the public names"),
        ("ground.files", "import edgerep", "by way of the public names"),
        ("graph.index", "from edgerep.graph.runtime import load", None),
        ("graph.index", "from edgerep.graph.deep.one import x", "a circle of files"),
        ("graph.runtime", "from edgerep.graph.deep.one import x", None),
        ("graph.index", "import tensorrt as trt", "only graph.runtime may"),
        ("graph.index", "def f():\n    from tensorrt.plugin import x", "only graph.runtime may"),
        ("graph.index", "importlib.import_module('tensorrt')", "only graph.runtime may"),
        ("graph.index", "import torch", "to serve where no vendor is installed"),
        ("top", "import torch", "only graph, ground may"),
        ("top", "from edgerep.graph.index import _look", "its _look is private"),
        ("graph.deep.one", "index._look()", "its _look is private"),
        ("attic", "x = 1", "stands in no room"),
    ],
)
def test_each_rule_is_kept(module: str, line: str, said: str | None) -> None:
    name = f"edgerep.{module}"
    planted = {**SOUND, name: f"{SOUND.get(name, '')}\n{line}\n"}
    found = violations(planted, SMALL)
    if said is None:
        assert found == []
    else:
        assert any(said in one for one in found), found


def test_a_circle_between_folders_is_seen_where_no_two_files_make_one() -> None:
    rules = Rules(floors={"graph": set()})
    planted = {
        "edgerep": "",
        "edgerep.graph.one.a": "from edgerep.graph.two.b import x\n",
        "edgerep.graph.two.b": "",
        "edgerep.graph.two.c": "from edgerep.graph.one.d import x\n",
        "edgerep.graph.one.d": "",
    }
    assert violations(planted, rules) == [
        "a circle of folders: edgerep.graph.one -> edgerep.graph.two -> edgerep.graph.one"
    ]


def test_sources_are_found_behind_the_links(tmp_path: Path) -> None:
    (tmp_path / "edgerep").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "bench" / "clock.py").write_text("import time\n", encoding="utf-8")
    (tmp_path / "edgerep" / "bench").symlink_to("../bench")
    assert read_sources(tmp_path) == {
        "edgerep.bench": "",
        "edgerep.bench.clock": "import time\n",
    }
