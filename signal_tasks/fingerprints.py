"""The fingerprint of a failure: the same for all failures of the same cause.

Made of the receiver, the type of the error, the function that failed and what the
error says without its particulars. Nothing of it depends on a host, a process, or a
line number, so that all workers count into the same group.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from types import FrameType
from typing import NamedTuple

from signal_tasks.error_text import chain_of, printable, text_of
from signal_tasks.exceptions import SignalLoop

#: Characters of a type or location, and of what an error says, that are compared.
MAX_NAME = 255
MAX_MESSAGE = 200
#: Errors of an exception group that are looked at.
MAX_LEAVES = 100


class Fingerprint(NamedTuple):
    """A fingerprint of 16 hexadecimal digits, and what to show of it.

    ``location`` is ``module.function``, or empty if only we have raised the error, or
    nobody.
    """

    value: str
    error_type: str
    location: str


def fingerprint(receiver: str, error: BaseException) -> Fingerprint:
    """Return the fingerprint of an error that this receiver has raised.

    Of an exception group, the error in it that sorts first stands for all: in which
    order they were raised is chance.
    """
    error_type, location, said = min(map(_facts, _leaves(error)))
    if isinstance(error, BaseExceptionGroup):
        error_type = f"{_type_name(error)}: {error_type}"[:MAX_NAME]
    facts = "\0".join((receiver, error_type, location, said))
    digest = hashlib.sha256(facts.encode(errors="backslashreplace"))
    return Fingerprint(digest.hexdigest()[:16], error_type, location)


def _facts(error: BaseException) -> tuple[str, str, str]:
    # Of a loop, the chain of its causes tells of one object, and may be cut anywhere.
    said = error.why if isinstance(error, SignalLoop) else text_of(error)
    return _type_name(error), _location(error), general(said)


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the errors in an exception group, or the error itself."""
    waiting = [error]
    leaves: list[BaseException] = []
    while waiting and len(leaves) < MAX_LEAVES:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        else:
            leaves.append(each)
    return leaves


def _type_name(error: BaseException) -> str:
    kind = type(error)
    name, module = kind.__qualname__, kind.__module__
    text = name if module == "builtins" else f"{module}.{name}"
    return printable(text)[:MAX_NAME]


# -- where it failed ----------------------------------------------------------------


def _location(error: BaseException) -> str:
    """Return the innermost function of the project's own code, or else of all.

    An error that was raised from another, by code that is not the project's own, is
    where that one is. Our own functions are no place: which of them raise an error
    depends on the way in which a delivery is run.
    """
    innermost = None
    for each in chain_of(error):
        frames = [frame for frame in _frames(each) if not _is_ours(frame)]
        for frame in reversed(frames):
            if _is_own(frame):
                return _named(frame)
        innermost = innermost or (frames[-1] if frames else None)
    return _named(innermost) if innermost is not None else ""


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of a traceback, the innermost last."""
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


def _named(frame: FrameType) -> str:
    function = COMPREHENSIONS.sub("", frame.f_code.co_qualname)
    return printable(f"{_module(frame)}.{function}")[:MAX_NAME]


#: From Python 3.12 on they are no functions of their own.
COMPREHENSIONS = re.compile(r"(?:\.<locals>\.<(?:list|set|dict)comp>)+$")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))


def _is_ours(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] == __name__.partition(".")[0]


def _is_own(frame: FrameType) -> bool:
    """Return True for code of the project: a file that nobody has installed."""
    # Compiled and generated code has the file of its module in its globals only.
    files = (frame.f_code.co_filename, frame.f_globals.get("__file__"))
    return all(_is_own_file(file) for file in files if isinstance(file, str))


@lru_cache(maxsize=1024)
def _is_own_file(file: str) -> bool:
    parts = re.split(r"[/\\]", file)
    is_installed = "site-packages" in parts or "dist-packages" in parts
    is_generated = file.startswith("<")
    return not (is_installed or is_generated or file.startswith(STANDARD))


#: The folders of the standard library.
STANDARD = tuple(
    os.path.join(folder, "")  # noqa: PTH118 - a prefix with its last separator
    for folder in {
        os.path.dirname(os.__file__),  # noqa: PTH120
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
    }
)


# -- what it says -------------------------------------------------------------------


def general(text: str) -> str:
    """Return the first line of what an error says, without its particulars.

    Quoted text, numbers, ids, paths and addresses become ``#``, several of them in a
    row a single one. The lines that follow are particulars: databases show the row
    there.
    """
    lines = QUOTED.sub("#", text).strip().splitlines()
    words = [_general_word(word) for word in lines[0].split()] if lines else []
    return ROW_OF_PARTICULARS.sub("#", " ".join(words))[:MAX_MESSAGE]


def _general_word(word: str) -> str:
    if any(mark in word for mark in ("/", "\\", "@")):
        return "#"  # a path, or an address
    return PARTICULAR.sub("#", word)


#: Text in quotes; what is not closed has been cut. An apostrophe is no quote.
PAIRS = (
    ("`", "`"),
    ("\u201c", "\u201d"),
    ("\u2018", "\u2019"),
    ("\u201e", "\u201c"),
    ("\u00ab", "\u00bb"),
)
QUOTED = re.compile(
    r"""(?<!\w)'(?:\\.?|[^'\\]|'(?=\w))*(?:'|\Z)|"(?:\\.?|[^"\\])*(?:"|\Z)|"""
    + "|".join(rf"{first}[^{last}]*(?:{last}|\Z)" for first, last in PAIRS),
    re.DOTALL,
)
#: A UUID; a word with a digit in it: a number, a date, an id; digits from a to f.
PARTICULAR = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|(?<!\w)[-+]?\w*\d\w*"
    r"|\b[0-9a-f]{8,}\b",
    re.IGNORECASE,
)
ROW_OF_PARTICULARS = re.compile(r"#(?:[^\w#]*#)+")
