"""Imports point down: who may import whom, held against every import of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from house import Rules, read_sources, violations

ROOT = Path(__file__).parents[1]

_ABOVE = ("__init__", "__main__", "__pycache__", "cli", "commands", "export", "bench")
_CORE = {path.stem for path in (ROOT / "edgerep").iterdir() if path.stem not in _ABOVE}
HOUSE = Rules(
    floors={
        **dict.fromkeys(_CORE, _CORE),
        "export": _CORE,
        "bench": _CORE | {"export"},
        "commands": _CORE | {"export", "bench"},
        "cli": _CORE | {"export", "bench", "commands"},
        "__main__": {"cli"},
    },
    vendors={
        "coremltools": {"export.coreml.quiet_coremltools"},
        "onnxruntime": {"bench.sessions.onnxruntime_session"},
        "pycuda": {"bench.sessions.engine.cuda"},
        "tensorrt": {"export.engine.runtime"},
        "tensorrt_rtx": {"export.engine.runtime"},
        "torch.onnx": {"export.from_torch.exporter"},
    },
)


def test_every_import_of_the_project_points_down() -> None:
    assert violations(read_sources(ROOT), HOUSE) == []


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
