"""Names of classes, from a file of the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgerep.errors import DataError, OptionError, given
from edgerep.outside.json_text import JsonError, parse_json
from edgerep.outside.regular import read_regular

_MOST_BYTES = 16 << 20  # of a file of names; a million classes need less


def read_labels(path: Path) -> list[str]:
    """Read the names of classes, in the order of the network's outputs.

    A text file has one name a line. A JSON file has a list of names, or an object from the number
    of each class to its name: `{"0": "tench"}`, or ImageNet's `{"0": ["n01440764", "tench"]}`.

    Raises:
        DataError: The file is none of these, or has no name.
        OptionError: A name is there twice.
    """
    content = read_regular(path, DataError, most=_MOST_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8: {error}") from error
    if path.suffix.lower() == ".json" or text.lstrip().startswith(("[", "{")):
        names = _from_json(text, path)
    else:
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if not names:
        raise DataError(f"{path} has no label: one class a line, or a JSON list of names")
    if bad := next((name for name in names if not name.isprintable()), None):
        raise DataError(f"{path} is no list of labels: {bad[:40]!r} has control characters")
    require_distinct(names)
    return names


def require_distinct(labels: Sequence[str] | None) -> None:
    """Refuse labels that are no list of names, or of which one is there twice.

    Raises:
        OptionError: They are none, or at least one is there twice; some are named.
    """
    if labels is not None and not isinstance(labels, list | tuple):
        raise OptionError(f"labels are a list of names, and {given(labels)}")
    if other := [name for name in labels or () if not isinstance(name, str)]:
        raise OptionError(f"labels are a list of names, and in it {given(other[0])}")
    repeated = [name for name, count in Counter(labels or ()).items() if count > 1]
    if repeated:
        more = f" and {len(repeated) - 8} more" if len(repeated) > 8 else ""
        raise OptionError(
            f"labels appear more than once, and Core ML keeps one probability for each name: "
            f"{', '.join(repeated[:8])}{more}. Make them distinct"
        )


def _from_json(text: str, path: Path) -> list[str]:
    try:
        found: Any = parse_json(text)
    except JsonError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if isinstance(found, dict):
        numbers = [str(index) for index in range(len(found))]
        if set(found) != set(numbers):
            raise DataError(
                f"{path} is an object whose keys are not the numbers 0 to {len(found) - 1} of "
                f"classes: give a list of names, or a name for each number"
            )
        found = [found[number] for number in numbers]
    if not isinstance(found, list):
        raise DataError(f"{path} holds a {type(found).__name__}, not a list of names")
    # torchvision's and Keras' file for ImageNet has [WordNet's number, name] for each class.
    names = [one[-1] if isinstance(one, list) and len(one) == 2 else one for one in found]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"{path} has labels that are no names: give text for each class")
    return [name.strip() for name in names]
