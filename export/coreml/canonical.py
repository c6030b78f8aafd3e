"""A saved package in the one form that its content has: the same input gives the same bytes.

coremltools gives the items of a package fresh UUIDs at each save, and protobuf writes maps in the
order in which they happen to lie in memory.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from edgerep.artefacts.files import sha256_of
from edgerep.export.coreml.messages import model_message
from edgerep.export.coreml.package_files import model_file

_ITEMS = uuid.UUID("9b6d2f7e-5e1c-5f0b-8f43-6a2c7f1f6a11")  # under which the items' names are made


def canonicalise_in_place(package: Path) -> None:
    """Write maps in the order of their keys, and name the items after what they hold.

    Args:
        package: The folder of a whole package; its model and its manifest are written anew.

    Raises:
        CoremlError: It is no whole package.
        OSError: It cannot be written.
    """
    file = model_file(package)
    model = model_message().FromString(file.read_bytes())
    file.write_bytes(model.SerializeToString(deterministic=True))
    manifest = package / "Manifest.json"
    fields = json.loads(manifest.read_text(encoding="utf-8"))
    names = {}
    for old, item in fields["itemInfoEntries"].items():
        content = sha256_of(package / "Data" / item["path"])
        names[old] = str(uuid.uuid5(_ITEMS, f"{item['path']}\0{content}")).upper()
    fields["itemInfoEntries"] = {
        names[old]: item for old, item in fields["itemInfoEntries"].items()
    }
    fields["rootModelIdentifier"] = names[fields["rootModelIdentifier"]]
    text = json.dumps(fields, indent=4, sort_keys=True)
    manifest.write_text(text + "\n", encoding="utf-8")
