"""Collect the Python packages that a GPU machine without a network needs, compiling pycuda.

    python tests/gpu/wheels.py FOLDER --python310 PYTHON --python312 PYTHON [--cuda TOOLKIT]

Runs where there is a network, a CUDA toolkit and gcc; no GPU and no driver. TensorRT 8.6.0 is the
last release that is complete on the package index, and it is for Python 3.10 at most: so that
Python goes along, with its own packages in FOLDER/cp310. FOLDER/cp312 is for the machine's own
Python, which has PyTorch, NumPy and cuda-bindings.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from stubs import TENSORRT_8, make_stubs

TENSORRT = "tensorrt==8.6.0"
RTX = ("tensorrt-rtx-cu13-libs==1.7.1.116", "tensorrt-rtx-cu13-bindings==1.7.1.116")
RTX_SOURCES = ("tensorrt-rtx==1.7.1.116", "tensorrt-rtx-cu13==1.7.1.116")  # small, and no wheels
PYCUDA = "pycuda==2026.1"
PYCUDA_NEEDS = ("pytools", "mako", "platformdirs")
# What `edgerep.build_engine` and an engine's session import besides the runtime.
COMMON = ("numpy", "onnx", "cuda-bindings", "click")
LARGE_BYTES = 16 << 20
# Of the interpreter: not needed to run, and most of its size.
LEFT_OUT = ("test", "idlelib", "ensurepip", "tkinter", "turtledemo", "lib2to3", "__pycache__")


def download(python: Path, folder: Path, names: Sequence[str], *, alone: bool = False) -> None:
    """Download wheels for an interpreter, with what they need unless `alone`."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-q", "--only-binary", ":all:", *(["--no-deps"] if alone else [])]
    subprocess.run([python, "-m", "pip", "download", *options, "-d", folder, *names], check=True)


def squeeze(folder: Path) -> None:
    """Pack the large wheels of a folder again with LZMA, which pip reads as well: half the size."""
    for wheel in folder.glob("*.whl"):
        if wheel.stat().st_size < LARGE_BYTES:
            continue
        smaller = wheel.with_suffix(".partial")
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(smaller, "w", zipfile.ZIP_LZMA) as new:
            for name in old.namelist():
                with old.open(name) as source, new.open(name, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, LARGE_BYTES)
        smaller.replace(wheel)


def build(python: Path, folder: Path, names: Sequence[str], **variables: str) -> None:
    """Make wheels of packages that the index has as sources only."""
    subprocess.run(
        [python, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, *names],
        check=True,
        env={**os.environ, **variables},
    )


def build_pycuda(python: Path, folder: Path, toolkit: Path) -> None:
    """Compile pycuda with no driver: an empty library stands for it, at link time only.

    Raises:
        RuntimeError: The result does not ask for the driver, and so would not load beside one.
    """
    download(python, folder, PYCUDA_NEEDS)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        stub = home / "libcuda.so"
        subprocess.run(
            ["gcc", "-shared", "-x", "c", os.devnull, "-Wl,-soname,libcuda.so.1", "-o", stub],
            check=True,
        )
        (home / ".aksetup-defaults.py").write_text("CUDA_ENABLE_CURAND = False\n")
        build(
            python, home, [PYCUDA],
            HOME=scratch,
            CUDA_ROOT=str(toolkit),
            CPATH=str(toolkit / "include"),
            LIBRARY_PATH=os.pathsep.join(map(str, (home, toolkit / "lib64", toolkit / "lib"))),
            LDFLAGS="-Wl,--no-as-needed",  # or the linker drops a library that gives no symbol
        )  # fmt: skip
        (wheel,) = home.glob("pycuda-*.whl")
        with zipfile.ZipFile(wheel) as file:
            (driver,) = (name for name in file.namelist() if name.startswith("pycuda/_driver"))
            library = file.extract(driver, scratch)
        done = subprocess.run(
            ["objdump", "-p", library], check=True, capture_output=True, text=True
        )
        if "libcuda.so.1" not in done.stdout:
            raise RuntimeError(f"{wheel.name} was linked without libcuda.so.1")
        shutil.copy(wheel, folder)


def stub_tensorrt(folder: Path) -> None:
    """Into `folder/stubs`, what TensorRT 8's plugins want of cuBLAS and cuDNN."""
    (wheel,) = folder.glob("tensorrt-8*.whl")
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as file:
        plugins = Path(file.extract("tensorrt/libnvinfer_plugin.so.8", scratch))
        make_stubs(plugins, TENSORRT_8, folder / "stubs")


def pack_python(python: Path, archive: Path) -> None:
    """An interpreter and its standard library, under `python/` in a tar file.

    Runs elsewhere with PYTHONHOME set to that folder.
    """
    asked = "import sys; print(sys.base_prefix)"
    done = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True)
    root = Path(done.stdout.strip())

    def wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        parts = Path(member.name).parts
        bulky = any(part in LEFT_OUT for part in parts) or member.name.endswith(".a")
        installed = "site-packages" in parts and parts[-1] != "site-packages"
        of_pip = "site-packages" in parts and any(part.startswith("pip") for part in parts)
        return None if bulky or (installed and not of_pip) else member

    with tarfile.open(archive, "w:xz", preset=1) as file:
        for part in ("bin", "lib"):
            file.add(root / part, f"python/{part}", filter=wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python310", type=Path, required=True)
    parser.add_argument("--python312", type=Path, required=True)
    parser.add_argument("--cuda", type=Path, default=Path("/usr/local/cuda"))
    options = parser.parse_args()
    if not (options.cuda / "include" / "cuda.h").is_file():
        sys.exit(f"{options.cuda} holds no CUDA toolkit (no include/cuda.h): give --cuda")
    older, newer = options.folder / "cp310", options.folder / "cp312"
    download(options.python310, older, COMMON)
    download(options.python310, older, [TENSORRT], alone=True)
    download(options.python312, newer, RTX, alone=True)
    build(options.python312, newer, RTX_SOURCES)
    stub_tensorrt(older)
    build_pycuda(options.python310, older, options.cuda)
    build_pycuda(options.python312, newer, options.cuda)
    squeeze(older)
    squeeze(newer)
    pack_python(options.python310, options.folder / "python310.tar.xz")
    for path in sorted(path for path in options.folder.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(options.folder)}")


if __name__ == "__main__":
    main()
