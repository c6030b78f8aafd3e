"""What can be known in the first second is refused in it: PyTorch is not even loaded by then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from commands.test_start_up import loaded_by

from command_line import refused
from zoo.onnx_files import a_file

OUTPUTS = {
    "fuse": "o.safetensors", "export-onnx": "o.onnx", "build-engine": "o.engine",
    "export-coreml": "o.mlpackage", "deploy": "o",
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that a mistake can be made with, and the current directory."""
    monkeypatch.chdir(tmp_path)
    np.savez("pixels.npz", images=np.zeros((2, 3, 32, 32), np.uint8))
    np.savez("one.npz", images=np.zeros((1, 3, 32, 32), np.uint8))
    Path("checkpoint.npz").write_bytes(b"PK\x03\x04 no archive at all")
    Path("twice.txt").write_text("cat\ncat\n")
    Path("object.json").write_text('{"a": "cat"}')
    Path("a.onnx").write_bytes(b"\x08\x08")
    a_file(Path("open.onnx"), "n")
    a_file(Path("closed.onnx"), 1)
    onnx.save(
        onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 3, 4, 4] x, float[1, 3, 4, 4] y) => (float[1, 3, 4, 4] z) { z = Add(x, y) }
    """),
        "two.onnx",
    )
    Path("three.txt").write_text("cat\ndog\ncow\n")
    Path("taken").touch()
    Path("folder.onnx").mkdir()
    return tmp_path


@pytest.mark.parametrize("words", [
    "bench open.onnx -o open.onnx", "bench open.onnx -o linked.onnx",
    "bench checkpoint.npz -o checkpoint.npz",
    "export-coreml open.onnx -o o.mlpackage --keep-onnx hard.onnx",
    "build-engine open.onnx -o o.engine --timing-cache open.onnx",
    "build-engine open.onnx -o o.engine --timing-cache o.engine",
    "deploy fused.safetensors -o .",
])  # fmt: skip
def test_no_command_writes_over_what_it_reads(words: str, folder: Path) -> None:
    (folder / "linked.onnx").symlink_to("open.onnx")
    (folder / "hard.onnx").hardlink_to("open.onnx")
    (folder / "fused.safetensors").write_bytes(b"the user's own")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    refused(2, *words.split(), says="is read by this command")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_command_refuses_a_bad_output_before_pytorch_is_loaded(command: str) -> None:
    code, loaded = loaded_by(command, "repvgg_a0", "-o", f"taken/{OUTPUTS[command]}")
    assert (code, loaded) == (3, set())


@pytest.mark.parametrize(
    ("code", "says", "arguments"),
    [
        # The output.
        (3, "ile name too long", ("fuse", "repvgg_a0", "-o", f"{'x' * 300}.safetensors")),
        (3, "ile name too long", ("inspect", f"{'x' * 300}.pth")),
        (3, "ile name too long", ("fuse", f"{'x' * 300}.pth", "-o", "o.safetensors")),
        (2, "ends in .safetensors", ("fuse", "repvgg_a0", "-o", "o.pth")),
        (2, "ends in .onnx", ("export-onnx", "repvgg_a0", "-o", "o.engine")),
        (2, "ends in .engine", ("build-engine", "repvgg_a0", "-o", "o.onnx")),
        (2, "ends in .mlpackage", ("export-coreml", "repvgg_a0", "-o", "o.mlmodel")),
        (2, "ends in .html", ("report", "twice.txt", "-o", "o.json")),
        (2, "is a folder", ("export-onnx", "repvgg_a0", "-o", "folder.onnx")),
        (2, "is a file", ("deploy", "repvgg_a0", "-o", "taken")),
        (2, "is read by this command", ("export-onnx", "a.onnx", "-o", "a.onnx",
                                        "--precision", "fp16")),
        (2, "ends in .onnx", ("build-engine", "repvgg_a0", "-o", "o.engine",
                              "--keep-onnx", "kept.pb")),
        # Images and labels.
        (3, "not an .npz or .npy", ("verify", "repvgg_a0", "a.onnx", "--calibration",
                                    "checkpoint.npz")),
        (2, "set --size", ("export-onnx", "repvgg_a0", "-o", "o.onnx", "--calibration",
                           "pixels.npz")),
        (2, "set --input", ("deploy", "repvgg_a0", "-o", "o", "--size", "32", "--calibration",
                            "pixels.npz")),
        (3, "1 is too few", ("deploy", "repvgg_a0", "-o", "o", "--size", "32", "--precision",
                             "int8", "--precision", "fp32", "--input", "uint8", "--calibration",
                             "one.npz")),
        (3, "1 is too few", ("export-onnx", "repvgg_a0", "-o", "o.onnx", "--size", "32",
                             "--precision", "fp8", "--input", "uint8", "--calibration",
                             "one.npz")),
        (2, "--max-images is of --calibration", ("export-onnx", "repvgg_a0", "-o", "o.onnx",
                                                 "--max-images", "3")),
        (2, "appear more than once", ("export-coreml", "repvgg_a0", "-o", "o.mlpackage",
                                      "--labels", "twice.txt")),
        (3, "keys are not the numbers", ("export-coreml", "repvgg_a0", "-o", "o.mlpackage",
                                         "--labels", "object.json")),
        (2, "did you mean twice.txt", ("export-coreml", "repvgg_a0", "-o", "o.mlpackage",
                                       "--labels", "twice.text")),
        # Preprocessing, and the network's own numbers.
        (2, "not finite and 0 or more", ("fuse", "repvgg_a0", "-o", "o.safetensors",
                                         "--bn-eps", "nan")),
        (2, "not finite and 0 or more", ("verify", "repvgg_a0", "a.onnx", "--bn-eps", "-1")),
        (2, "(pixel - 123.675) / 58", ("export-onnx", "repvgg_a0", "-o", "o.onnx", "--input",
                                       "uint8", "--mean", "123.675", "--std", "58")),
        (2, "leave --mean and --std out", ("deploy", "repvgg_a0", "-o", "o", "--preset", "unit",
                                           "--mean", "0.5")),
        (2, "did you mean imagenet", ("deploy", "repvgg_a0", "-o", "o", "--preset", "imagnet")),
        # Targets and devices.
        (2, "iOS16 does not know int8: take --target iOS17", (
            "export-coreml", "repvgg_a0", "-o", "o.mlpackage", "--size", "32", "--precision",
            "int8", "--input", "uint8", "--target", "iOS16", "--calibration", "pixels.npz")),
        (2, "iOS15 does not know int8-weights", (
            "export-coreml", "repvgg_a0", "-o", "o.mlpackage", "--precision", "int8-weights",
            "--target", "iOS15")),
        (3, "need a network with one input, and this takes x, y", (
            "export-onnx", "two.onnx", "-o", "o.onnx", "--precision", "int8", "--calibration",
            "pixels.npz")),
        (2, "is no compute capability", ("build-engine", "repvgg_a0", "-o", "o.engine",
                                         "--compute-capability", "8.x")),
        (2, "takes no dynamic batch", ("build-engine", "repvgg_a0", "-o", "o.engine", "--dla", "0",
                                       "--batch", "1:2:4")),
        (2, "add --input uint8", ("export-coreml", "repvgg_a0", "-o", "o.mlpackage",
                                  "--image-input")),
        (2, "begins above 1", ("export-coreml", "repvgg_a0", "-o", "o.mlpackage", "--batch", "2",
                               "--image-input", "--input", "uint8")),
        (2, "did you mean onnx", ("deploy", "repvgg_a0", "-o", "o", "--targets", "onx")),
        (2, "--targets leaves it out", ("deploy", "repvgg_a0", "-o", "o", "--targets", "onnx",
                                        "--require", "coreml")),
        (2, "--targets leaves it out", ("deploy", "repvgg_a0", "-o", "o", "--targets", "onnx",
                                        "--runtime", "tensorrt-rtx")),
        (2, "--no-bench leaves it out", ("deploy", "repvgg_a0", "-o", "o", "--no-bench",
                                         "--rounds", "9")),
        (2, "is none of cpu, cuda", ("bench", "repvgg_a0", "--device", "gpu")),
        # What an ONNX file has already.
        (3, "3 labels, and the network has 32 classes (in open.onnx)", (
            "export-coreml", "open.onnx", "-o", "o.mlpackage", "--labels", "three.txt")),
        (3, "takes uint8 pixels", ("export-coreml", "open.onnx", "-o", "o.mlpackage",
                                   "--image-input")),
        (2, "exported for a batch of 1, and 2 is", ("build-engine", "closed.onnx", "-o", "o.engine",
                                                    "--batch", "2")),
        (2, "2 values and the image 3 channels", ("build-engine", "open.onnx", "-o", "o.engine",
                                                  "--mean", "0.5,0.4", "--std", "1")),
        (2, "is fp32 already", ("export-onnx", "open.onnx", "-o", "o.onnx", "--precision",
                                "fp32")),
        (3, "the images given are uint8", ("export-onnx", "open.onnx", "-o", "o.onnx",
                                           "--batch", "2", "--calibration", "pixels.npz")),
        (3, "is not an ONNX file", ("build-engine", "a.onnx", "-o", "o.engine")),
        # The source.
        (2, "is not package.module:callable", ("fuse", "-", "--model", "net.py", "-o",
                                               "o.safetensors")),
        (2, "stands for the weights", ("fuse", "-", "-o", "o.safetensors")),
        (2, "SOURCE is empty", ("fuse", "", "-o", "o.safetensors")),
        (2, "SOURCE is empty", ("verify", "", "a.onnx")),
        (3, "did you mean RepVGG-A", ("fuse", "repvgg_a9", "-o", "o.safetensors")),
        (3, "did you mean twice.txt", ("inspect", "twise.txt")),
        (2, "did you mean export-onnx", ("export-onx", "repvgg_a0")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_it_is_refused_before_pytorch_is_loaded(
    code: int, says: str, arguments: tuple[str, ...], folder: Path
) -> None:
    before = sorted(folder.rglob("*"))
    refused(code, *arguments, says=says)
    assert sorted(folder.rglob("*")) == before


def test_none_of_these_refusals_loads_pytorch() -> None:
    """One process of each kind: those above run in this one, where PyTorch is there already."""
    for arguments in (
        ("export-onnx", "repvgg_a0", "-o", "o.onnx", "--calibration", "pixels.npz"),
        ("export-coreml", "repvgg_a0", "-o", "o.mlpackage", "--labels", "twice.txt"),
        ("build-engine", "repvgg_a0", "-o", "o.engine", "--compute-capability", "8.x"),
        ("verify", "repvgg_a0", "a.onnx", "--calibration", "checkpoint.npz"),
        ("bench", "repvgg_a0", "--device", "gpu"),
    ):
        code, loaded = loaded_by(*arguments)
        assert code in (2, 3)
        assert loaded <= {"numpy"}
    code, loaded = loaded_by("export-coreml", "open.onnx", "-o", "o.mlpackage", "--labels",
                             "three.txt")  # fmt: skip
    assert (code, loaded) == (3, {"numpy", "onnx"})


def test_a_link_that_leads_nowhere_is_not_suggested_for_itself() -> None:
    Path("endless").symlink_to("endless")
    refused(3, "inspect", "endless", says="endless: no such file\n")
