"""Images of the user's own on the command line: folders of pictures, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgerep
from command_line import refused, run
from edgerep.artefacts.batches import batch_profile
from edgerep.bench.accuracy import module_accuracy, require_classifier
from edgerep.commands.shared.deploying import labelled_images
from edgerep.commands.shared.graph_options import GraphOptions
from edgerep.data.preprocessing import Preprocessing
from edgerep.data.samples import read_images
from zoo.onnx_files import a_file
from zoo.picture_files import picture_folder

DEMO = Path(__file__).parents[3] / "docs/demo"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    a_file(Path("a.onnx"), 1)  # [3, 4, 4]
    picture_folder(Path("set"), 10)
    return tmp_path


def test_pictures_are_compared_on_and_broken_ones_named(files: Path) -> None:
    Path("set/broken.jpg").write_text("no picture")
    done = run("verify", "a.onnx", "a.onnx", "--calibration", "set", "--image-preset", "imagenet",
               "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 broken, skipped: broken.jpg (no picture of a kind that is read)" in done.stderr
    assert json.loads(done.stdout)["artefacts"][0]["images_compared"] == 10
    done = run("verify", "a.onnx", "a.onnx", "--calibration", "set", "--image-preset", "unit",
               "--max-images", "3", "--json")  # fmt: skip
    found = json.loads(done.stdout)["artefacts"][0]
    assert (found["images_given"], found["images_compared"]) == (11, 3)


def test_a_graph_that_is_given_its_normalisation_needs_no_preset(files: Path) -> None:
    done = run("export-onnx", "a.onnx", "-o", "b.onnx", "--preset", "imagenet", "--input", "uint8",
               "--calibration", "set", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parity"]["artefacts"][0]["images_compared"] == 10
    refused(2, "verify", "b.onnx", "b.onnx", "--calibration", "set", "--image-preset", "clip",
            says="leave it out")  # fmt: skip


def test_nothing_is_guessed(files: Path) -> None:
    refused(3, "verify", "a.onnx", "a.onnx", "--calibration", "set", says="--image-preset imagenet")
    refused(3, "export-onnx", "repvgg_a0", "-o", "b.onnx", "--calibration", "set",
            says="--image-preset imagenet")  # fmt: skip
    np.save("images.npy", np.zeros((2, 3, 4, 4), np.float32))
    refused(2, "verify", "a.onnx", "a.onnx", "--calibration", "images.npy", "--image-preset",
            "unit", says="is of a folder of pictures")  # fmt: skip
    refused(2, "deploy", "repvgg_a0", "-o", "out", "--evaluate", "set", "--preset", "unit",
            says="pictures of no class")  # fmt: skip
    Path("none").mkdir()
    refused(3, "verify", "a.onnx", "a.onnx", "--calibration", "none", says="has no picture")
    refused(2, "verify", "a.onnx", "a.onnx", "--calibration", "sett", says="did you mean set")


def test_without_pillow_the_command_that_brings_it_is_said(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(4, "verify", "a.onnx", "a.onnx", "--calibration", "set",
            says="pip install 'edgerep[images]'")  # fmt: skip


def test_classes_in_folders_are_counted_as_labels_in_a_file_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(DEMO / "test.npz") as file:
        images, labels = file["images"][:60], file["labels"][:60]
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        Path(f"test/{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(f"test/{label}/{number}.png")
    np.savez("test.npz", images=images, labels=labels)
    with (DEMO / "training.json").open() as notes:
        record = json.load(notes)
    wanted = GraphOptions(
        model=None, size=(32, 32), input_shapes=None, batch=batch_profile(1), bn_eps=None,
        preprocessing=Preprocessing("uint8", (record["mean"],), (record["std"],)),
    )  # fmt: skip
    model = edgerep.load(DEMO / "digits-repvgg.pth")
    correct = []
    for given in ("test", "test.npz"):
        labelled = labelled_images(read_images(given), model, wanted)
        require_classifier(model, labelled, wanted.preprocessing)
        found = module_accuracy(model, labelled, wanted.preprocessing, form="unfused")
        assert found.total == 60
        correct.append(found.correct)
    assert correct[0] == correct[1] > 50


def test_labels_beyond_the_classes_are_no_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", images=np.zeros((2, 1, 32, 32), np.uint8), labels=np.array([0, 10]))
    refused(3, "deploy", DEMO / "digits-repvgg.pth", "-o", "out", "--size", "32", "--input",
            "uint8", "--evaluate", "t.npz", says="go up to 10, and RepVGG has 10")  # fmt: skip
