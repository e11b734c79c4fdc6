"""The text of an error: bounded, and possible for any error.

An error may say megabytes, say several lines, or fail to say anything.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Characters of an error's text that are kept.
MAX_CHARS = 2000
#: Characters of one that a line of a log shows.
MAX_LINE = 500


def text_of(error: BaseException) -> str:
    """Return what ``str(error)`` says, at most MAX_CHARS of it."""
    try:
        return str(error)[:MAX_CHARS]
    # An exception whose own __str__ fails must still be recorded.
    except Exception:  # noqa: BLE001
        return "(the error cannot be shown)"


def line_of(error: BaseException) -> str:
    """Return the type of an error and what it says, as one short line."""
    return one_line(f"{type(error).__qualname__[:MAX_LINE]}: {text_of(error)}")


def one_line(text: str) -> str:
    """Return the text as one line of MAX_LINE characters that nobody else can forge.

    Line ends and control characters are escaped, so that no text makes a line of its
    own, or turns what a terminal shows.
    """
    short = text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 4]} ..."
    return short if short.isprintable() else "".join(map(_escaped, short))


def printable(text: str) -> str:
    """Return text that every database stores: no NUL and no lone surrogates."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from, as a traceback shows them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()
