"""On the GPU machine: put the carried parts together and install them, without a network.

    python tests/gpu/install.py CARRIED FOLDER

CARRIED is what prepare.py made, or the part of it that has come so far; call again when more has.
FOLDER gets `made/` (graphs, engines, answers) and two commands that run a Python with what it
needs: `python` (the one that runs this; with TensorRT-RTX) and `python310` (with TensorRT 8.6.0).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import checkout  # noqa: F401  (finds edgerep)
from parts import unpack


def install(python: Sequence[str], wheels: Sequence[Path], target: Path) -> None:
    """Install wheels into a folder of their own."""
    if not target.exists():
        command = [*python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
        subprocess.run([*command, target, *wheels], check=True)


def write_launcher(path: Path, python: Path | str, variables: Mapping[str, Path]) -> None:
    """A command that runs a Python with some folders put before what some variables hold."""
    settings = " ".join(
        f"{name}='{value.resolve()}'\"${{{name}:+:${name}}}\"" for name, value in variables.items()
    )
    path.write_text(f"#!/bin/sh\n{settings} exec '{python}' \"$@\"\n")
    path.chmod(0o755)


def unpack_python(archive: Path, folder: Path) -> Path:
    """The carried interpreter."""
    root = folder / "python-3.10"
    if not root.exists():
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        os.replace(folder / "python", root)
    return root.resolve() / "bin" / "python3.10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("carried", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    folder: Path = options.folder
    there, missing = unpack(options.carried, folder)
    packages = folder / "packages"
    if any("cp312/" in name for name in there) and not any("cp312/" in name for name in missing):
        site = folder / "site"
        install([sys.executable], sorted((packages / "cp312").glob("*.whl")), site)
        write_launcher(folder / "python", sys.executable, {"PYTHONPATH": site})
        print(f"{folder / 'python'}: ready")
    if any("cp310/" in name for name in there) and not missing:
        site = folder / "site310"
        python = unpack_python(packages / "python310.tar.xz", folder / "opt")
        variables = {"LD_LIBRARY_PATH": python.parents[1] / "lib"}  # of libpython itself
        launcher = folder / "python310"
        write_launcher(launcher, python, variables)
        install([str(launcher)], sorted((packages / "cp310").glob("*.whl")), site)
        for stub in (packages / "cp310" / "stubs").iterdir():
            shutil.copy(stub, site / "tensorrt")  # where its libraries look first
        write_launcher(launcher, python, {**variables, "PYTHONPATH": site})
        print(f"{launcher}: ready")
    if missing:
        print(f"{len(missing)} of {len(there) + len(missing)} files have not come yet")


if __name__ == "__main__":
    main()
