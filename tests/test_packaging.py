"""The root shows `export/` and `bench/`; Python only sees `edgerep.export` and `edgerep.bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgerep

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch", "numpy", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx",
    "coremltools", "pycuda", "safetensors",
}  # fmt: skip
HELP = "import contextlib\nfrom edgerep.cli import main\nwith contextlib.suppress(SystemExit):\n"


def loaded_by(code: str, names: set[str]) -> set[str]:
    """Which of `names` a fresh interpreter has imported after running `code`."""
    probe = f"{code}\nimport sys\nprint('LOADED', *sorted({names!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_every_package_folder_is_declared() -> None:
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {_folder(name, declared["package-dir"]) for name in declared["packages"]}
    found = {
        init.parent.relative_to(ROOT).as_posix()
        for folder in ("edgerep", "export", "bench")
        for init in (ROOT / folder).rglob("__init__.py")
        if not any(parent.is_symlink() for parent in init.parents)
    }
    assert found == folders


def _folder(package: str, package_dir: dict[str, str]) -> str:
    """Where setuptools takes a package from: the longest prefix in `package-dir` decides."""
    parts = package.split(".")
    for count in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:count])) in package_dir:
            return "/".join([package_dir[prefix], *parts[count:]])
    return "/".join(parts)


@pytest.mark.parametrize("name", ["export", "bench"])
def test_alias_points_at_the_top_level_folder(name: str) -> None:
    alias = ROOT / "edgerep" / name
    if not alias.is_symlink():
        pytest.skip("checkout made without symlink support")
    assert alias.resolve() == ROOT / name


def test_help_and_import_load_nothing_heavy_and_no_generic_names() -> None:
    names = HEAVY | {"export", "bench"}
    assert loaded_by("import edgerep", names) == set()
    assert loaded_by(HELP + "    main(['--help'])", names) == set()


def test_doctor_loads_nothing_heavy() -> None:
    assert loaded_by(HELP + "    main(['doctor'])", HEAVY) == set()


def test_fusing_needs_only_the_base_dependencies() -> None:
    code = "import edgerep\nedgerep.fuse\nedgerep.load\nedgerep.export_onnx"
    assert loaded_by(code, {"onnxruntime", "coremltools", "tensorrt", "tensorrt_rtx"}) == set()


def test_public_names_exist() -> None:
    for name in edgerep.__all__:
        assert getattr(edgerep, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fussion'"):
        _ = edgerep.fussion
