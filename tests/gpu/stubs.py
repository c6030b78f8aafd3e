"""Stand in for libraries that a library is linked with and does not call in what is tested.

`libnvinfer_plugin.so.8` binds cuBLAS 12 and cuDNN 8 when it is loaded, so they must be there with
every symbol; TensorRT's own kernels do without them. A call that is made all the same gets 1, the
word of both for "not initialized".
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

TENSORRT_8 = ("libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.8")
# "... *UND* 0000000000000000 (libcublas.so.12) cublasCreate_v2", or without the parentheses.
_UNDEFINED = re.compile(r"\*UND\*\s+[0-9a-f]+\s+\(?([^\s()]+)\)?\s+(\w+)$")


def symbols_wanted(library: Path) -> dict[str, list[str]]:
    """By version, the symbols that a shared library takes from others."""
    done = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True)
    wanted: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if found := _UNDEFINED.search(line):
            wanted.setdefault(found[1], []).append(found[2])
    return wanted


def make_stubs(library: Path, names: Sequence[str], folder: Path) -> list[Path]:
    """Write a library of each name, whose version is its name, with what `library` takes from it.

    Raises:
        ValueError: `library` takes nothing from one of them.
    """
    wanted = symbols_wanted(library)
    if strange := [name for name in names if name not in wanted]:
        raise ValueError(f"{library.name} takes nothing from {', '.join(strange)}")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as scratch:
        code, script = Path(scratch, "stub.c"), Path(scratch, "stub.map")
        for name in names:
            code.write_text("".join(f"int {s}(void) {{ return 1; }}\n" for s in wanted[name]))
            script.write_text(f"{name} {{ global: *; }};\n")
            made.append(folder / name)
            subprocess.run(
                ["gcc", "-shared", "-fPIC", "-fno-builtin", code, "-o", made[-1],
                 f"-Wl,-soname,{name}", f"-Wl,--version-script,{script}"],
                check=True,
            )  # fmt: skip
    return made
