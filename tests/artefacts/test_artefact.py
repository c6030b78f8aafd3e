"""What graphs, engines and packages say of themselves, in records and on the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from edgerep.artefacts.artefact import Artefact, ends_from
from edgerep.artefacts.batches import BatchProfile
from edgerep.artefacts.tensors import TensorSpec
from edgerep.errors import OptionError

SOURCE = {"kind": "checkpoint", "name": "a.pth", "sha256": "0" * 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing(Artefact):
    kind: ClassVar[str] = "thing"


THING = Thing(
    path=Path("folder", "net.thing"),
    sha256="ab",
    precision="fp16",
    form="fused",
    batch=BatchProfile(1, 8, 32),
    inputs=(TensorSpec("image", "uint8", (None, 3, 4, 5)),),
    outputs=(TensorSpec("logits", "float32", (None, 7)),),
    made_from=(SOURCE,),
)


def test_what_is_made_from_it_names_it_first_and_then_its_sources() -> None:
    assert THING.lineage == ({"kind": "thing", "name": "net.thing", "sha256": "ab"}, SOURCE)


def test_a_record_gives_the_ends_back() -> None:
    record = THING.record(("click", "no such package"), {"level": 3}, size_bytes=5)
    assert (record.kind, record.sha256, record.made_from) == ("thing", "ab", (SOURCE,))
    assert record.options == {"level": 3}
    assert record.details["size_bytes"] == 5
    assert "click" in record.versions
    assert "no such package" not in record.versions
    details = json.loads(json.dumps(asdict(record)))["details"]
    fields = {name: getattr(THING, name) for name in ends_from(details)}
    assert ends_from(details) == fields


def test_the_json_of_commands_has_the_same_ends_its_hash_and_its_sources() -> None:
    assert THING.to_json() == {"sha256": "ab", **THING.ends(), "made_from": [SOURCE]}
    assert THING.ends()["batch"] == [1, 8, 32]


@pytest.mark.parametrize("name", ["form", "batch", "inputs"])
def test_details_of_something_else_are_refused(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        ends_from({key: value for key, value in THING.ends().items() if key != name})


def test_batch_sizes_that_fall_are_refused() -> None:
    with pytest.raises(OptionError, match="must not fall"):
        ends_from({**THING.ends(), "batch": [8, 1, 32]})
