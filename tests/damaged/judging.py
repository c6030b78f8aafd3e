"""One damaged file given to a command, and whether the command behaved."""

from __future__ import annotations

import contextlib
import io
import traceback
from dataclasses import dataclass

from damaged.cases import Case
from edgerep.cli import main
from edgerep.errors import LONGEST_MESSAGE

_CODES = (0, 1, 2, 3, 4)
_STARVED = ("not enough memory", "bad alloc", "Cannot allocate", "can't allocate", "MemoryError")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int | None
    output: str


def run_case(case: Case) -> Outcome:
    """Run a case's command in this process."""
    printed = io.StringIO()
    code: int | None = None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main([*case.words, "-q"])
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else None
        except BaseException:
            printed.write(traceback.format_exc())
    return Outcome(code, printed.getvalue())


def fault_of(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with an outcome, in words; None where the command behaved."""
    text = outcome.output
    if "Traceback (most recent" in text:
        return f"a traceback: {text.strip().splitlines()[-1][:200]}"
    if "edgerep itself is at fault" in text:
        return text[text.index("edgerep itself") :][:300]
    if outcome.code not in _CODES:
        return f"exit code {outcome.code}: {text[-200:]}"
    if any(word in text for word in _STARVED):
        return f"it needs too much memory: {text[-200:]}"
    if outcome.code in (2, 3):
        message = text[max(text.rfind("edgerep: error:"), 0) :]
        if len(message) > LONGEST_MESSAGE + 100:
            return f"a message of {len(message)} characters"
        named = case.file.stem in message or (case.kind == "labels" and "labels" in message)
        if not named:
            return f"the message does not name {case.file.name}: {message[:200]}"
    return None
