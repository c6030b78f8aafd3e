"""Every option of every command, for every kind of SOURCE: honoured, or refused with words."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest

from command_line import refused, run
from edgerep.cli import group
from edgerep.commands.shared.help_page import OPTION_GROUPS
from zoo.onnx_files import a_file

OUTPUTS = {"export-onnx": "o.onnx", "build-engine": "o.engine", "export-coreml": "o.mlpackage"}
# What only a network can be told: an ONNX file has it already.
OF_NETWORKS = {
    "--model": ("mynets:build",), "--input-shape": ("3x4x4",), "--size": ("4",),
    "--bn-eps": ("0.001",), "--unfused": (),
}  # fmt: skip
# What is done to any graph, also to one that was handed in.
OF_GRAPHS = {"--batch", "--precision", "--repair", "--input", "--preset", "--mean", "--std",
             "--keep-onnx", "--calibration", "--max-images", "--keep-fp32", "--max-drop",
             "--min-sqnr", "--without"}  # fmt: skip


def options_of(command: str) -> dict[str, click.Parameter]:
    with click.Context(group) as context:
        found = group.get_command(context, command)
    assert found is not None
    return {max(p.opts, key=len): p for p in found.params if isinstance(p, click.Option)}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    a_file(Path("open.onnx"), "n")
    a_file(Path("closed.onnx"), 1)
    Path("a.engine").touch()
    Path("a.mlpackage").mkdir()
    np.savez("images.npz", images=np.zeros((2, 3, 4, 4), np.float32))


@pytest.mark.parametrize("command", OUTPUTS)
def test_an_onnx_file_has_its_own_network(command: str, files: None) -> None:
    there = options_of(command)
    for option, value in OF_NETWORKS.items():
        if option in there:
            refused(2, command, "open.onnx", "-o", OUTPUTS[command], option, *value,
                    says=f"{option} cannot change it")  # fmt: skip
    about_source = {*OPTION_GROUPS["Source"], *OPTION_GROUPS["Network"],
                    *OPTION_GROUPS["Precision and preprocessing"]}  # fmt: skip
    assert about_source & there.keys() <= OF_NETWORKS.keys() | OF_GRAPHS  # none is forgotten


@pytest.mark.parametrize("command", OUTPUTS)
@pytest.mark.parametrize(("source", "batch"), [("open.onnx", "1:2:4"), ("open.onnx", "3")])
def test_an_open_batch_takes_what_is_asked_for(
    command: str, source: str, batch: str, files: None
) -> None:
    done = run(command, source, "-o", OUTPUTS[command], "--batch", batch, "--json",
               "--calibration", "images.npz")  # fmt: skip
    assert done.returncode == 0, done.stderr
    sizes = [int(part) for part in batch.split(":")]
    assert json.loads(done.stdout)["batch"] == (sizes if len(sizes) == 3 else sizes * 3)


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_closed_batch_is_no_other(command: str, files: None) -> None:
    refused(2, command, "closed.onnx", "-o", OUTPUTS[command], "--batch", "1:2:4",
            says="exported for a batch of 1")  # fmt: skip


def test_the_other_options_of_a_graph_change_an_onnx_file(files: None) -> None:
    for option, value, field in (
        ("--precision", "fp16", ("precision", "fp16")),
        ("--input", "uint8", ("inputs", "uint8")),
        ("--preset", "imagenet", ("options", "0.485")),
        ("--mean", "0.5", ("options", "0.5")),
        ("--std", "0.25", ("options", "0.25")),
    ):
        done = run("export-onnx", "open.onnx", "-o", "o.onnx", option, value, "--json")
        assert done.returncode == 0, done.stderr
        assert field[1] in json.dumps(json.loads(done.stdout)[field[0]])
    refused(2, "export-onnx", "open.onnx", "-o", "o.onnx", says="is an ONNX file already")


def test_an_onnx_file_is_kept_where_that_is_asked_for(files: None) -> None:
    done = run("build-engine", "open.onnx", "-o", "o.engine", "--keep-onnx", "kept.onnx")
    assert done.returncode == 0, done.stderr
    assert Path("kept.onnx").is_file()


@pytest.mark.parametrize("command", [*OUTPUTS, "fuse", "deploy"])
@pytest.mark.parametrize("source", ["a.engine", "a.mlpackage"])
def test_what_was_made_already_is_no_source(command: str, source: str, files: None) -> None:
    output = {**OUTPUTS, "fuse": "o.safetensors", "deploy": "o"}[command]
    refused(3, command, source, "-o", output, says="made from a network already")


def test_commands_that_begin_with_a_network_say_what_takes_an_onnx_file(files: None) -> None:
    refused(3, "fuse", "open.onnx", "-o", "o.safetensors", says="export-onnx")
    refused(3, "deploy", "open.onnx", "-o", "o", says="build-engine")


@pytest.mark.parametrize("option", ["--model", "--bn-eps"])
def test_verify_against_an_onnx_file_has_its_own_network(option: str, files: None) -> None:
    refused(2, "verify", "open.onnx", "closed.onnx", option, *OF_NETWORKS[option],
            says=f"{option} cannot change it")  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value"),
    [*((name, value[0]) for name, value in OF_NETWORKS.items() if value), ("--device", "cpu")],
)
def test_bench_has_options_of_networks_only_where_there_is_one(
    option: str, value: str, files: None
) -> None:
    refused(2, "bench", "open.onnx", option, value, says="only for networks")


def test_every_option_stands_in_a_group_and_every_command_has_examples() -> None:
    grouped = {name for names in OPTION_GROUPS.values() for name in names}
    with click.Context(group) as context:
        for name in group.list_commands(context):
            assert options_of(name).keys() <= grouped, name
            command = group.get_command(context, name)
            assert len(getattr(command, "examples", ())) >= 2, name
            for example in getattr(command, "examples", ()):
                options = {word for word in example.split() if word.startswith("--")}
                known = options_of(name).values()
                assert options <= {o for p in known for o in (*p.opts, *p.secondary_opts)}, example
