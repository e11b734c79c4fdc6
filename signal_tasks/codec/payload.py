"""The payload of an event: its sender and keyword arguments as one text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from signal_tasks.codec.containers import is_plain
from signal_tasks.codec.protocols import OnMissing, Rows, Writer
from signal_tasks.codec.reader import PayloadReader
from signal_tasks.codec.refusal import DATA_ERRORS, Refused, TooLarge, shortened
from signal_tasks.codec.writer import PayloadWriter
from signal_tasks.exceptions import DecodeError, MissingInstance, PayloadError

VERSION = 1
#: Name of the sender among the sensitive arguments, and under which their names are
#: stored; see ``redaction``.
SENDER, SENSITIVE = "sender", "sensitive"
STACK = "the values are nested too deeply for what is left of the call stack"

#: Characters that ``extended`` adds at most.
MAX_ADDED = 10_000_000

#: The form of model instances if the sender names none.
BY_REFERENCE = Rows()

# The version stands first, so that it is checked before the rest is read.
_VERSION = re.compile(r'\{"v":(\d{1,9}),')

# ASCII, since some databases refuse NUL and lone surrogates. The writer has refused
# cycles already.
_dumps = json.JSONEncoder(
    check_circular=False, allow_nan=False, separators=(",", ":")
).encode


@dataclass(frozen=True, slots=True)
class Payload:
    """The sender and the keyword arguments that a receiver is called with.

    ``sensitive`` names those that are shown to nobody.
    """

    sender: object
    kwargs: dict[str, Any]
    sensitive: Collection[str] = ()


def encode(
    signal_name: str,
    sender: object,
    kwargs: Mapping[str, object],
    *,
    max_bytes: int,
    sensitive: Collection[str] = (),
    rows: Rows = BY_REFERENCE,
) -> str:
    """Return the payload as ASCII text; it names the sensitive arguments.

    Run no query, and no code of the values' own classes, with three exceptions:
    encoders given to ``register_type``, lazy objects and strings, which are evaluated,
    and model fields, which convert the values that nothing else can carry.

    Raises:
        PayloadError: a value cannot travel.
    """
    try:
        writer = PayloadWriter(max_bytes, rows)
        return _encode(writer, sender, kwargs, max_bytes, sensitive)
    except Refused as refused:
        raise PayloadError(
            signal_name,
            shortened(refused.path),
            refused.problem,
            argument=refused.argument,
        ) from refused.__cause__
    except RecursionError:
        raise PayloadError(signal_name, "kwargs", STACK) from None


def _encode(
    writer: Writer,
    sender: object,
    kwargs: Mapping[str, object],
    limit: int,
    sensitive: Collection[str],
) -> str:
    head = writer.write_at("sender", sender)
    body = {name: writer.write_at(name, kwargs[name]) for name in kwargs}
    words = _keywords(body, writer)
    marks = {SENSITIVE: list(sensitive)} if sensitive else {}
    text = _dumps({"v": VERSION, **marks, "sender": head, "kwargs": words})
    if len(text) > limit:
        _refuse_largest({"sender": head, **body}, limit)
    return text


def _keywords(written: dict[str, object], writer: Writer) -> object:
    if all(map(is_plain, written)):
        return written
    flat = [part for name in written for part in (writer.write(name), written[name])]
    return {"$dict": flat}


def _refuse_largest(parts: dict[str, object], limit: int) -> NoReturn:
    refused = TooLarge(limit)
    largest = max(parts, key=lambda name: len(_dumps(parts[name])))
    refused.path = refused.argument = largest
    raise refused


def extended(text: str, more: Mapping[str, object]) -> str:
    """Return the payload with these plain keywords besides its own, which stay unread.

    A text that is damaged is returned as it is: whoever reads it learns that.

    Raises:
        DecodeError: the payload has a version that this process cannot read.
    """
    if _VERSION.match(text) is None:
        return text
    _check_version(text)
    try:
        found = json.loads(text)
        words = found["kwargs"]
        writer = PayloadWriter(MAX_ADDED, BY_REFERENCE)
        flat = words.get("$dict")
        for name, value in more.items():
            if flat is None:
                words[name] = writer.write(value)
            else:
                flat += (writer.write(name), writer.write(value))
        return _dumps(found)
    except DATA_ERRORS:
        return text


def decode(text: str, *, on_missing: OnMissing = "reject") -> Payload:
    """Return the payload; read each model instance from its database.

    Args:
        text: the text that ``encode`` returned.
        on_missing: with "none", a row that is gone is None instead of an error.

    Raises:
        MissingInstance: a row is gone.
        DecodeError: this process cannot read the payload.
    """
    _check_version(text)
    try:
        found = json.loads(text, object_hook=PayloadReader(on_missing).read)
        sensitive = found.get(SENSITIVE, ())
        payload = Payload(found["sender"], found["kwargs"], sensitive)
    except DATA_ERRORS as error:
        problem = shortened(repr(error))
        raise DecodeError(f"the payload is damaged: {problem}") from error
    if not isinstance(payload.kwargs, dict):
        raise DecodeError("the payload is damaged: its kwargs are not a dict")
    return payload


def decode_unless_skipped(text: str, *, on_missing: OnMissing) -> Payload | None:
    """Return the payload as a receiver reads it, or None if it skips what is gone.

    Raises:
        MissingInstance, DecodeError: as ``decode`` does.
    """
    try:
        return decode(text, on_missing=on_missing)
    except MissingInstance:
        if on_missing == "skip":
            return None
        raise


def decode_sender(text: str) -> Payload:
    """Return the payload without keywords, which may be such as nobody can read here.

    A sender whose row is gone is None.

    Raises:
        DecodeError: this process cannot read the sender.
    """
    _check_version(text)
    try:
        found = json.loads(text)
        alone = {**found, "kwargs": {}}
    except DATA_ERRORS as error:
        problem = shortened(repr(error))
        raise DecodeError(f"the payload is damaged: {problem}") from error
    return decode(_dumps(alone), on_missing="none")


def _check_version(text: str) -> None:
    match = _VERSION.match(text)
    if match is None:
        raise DecodeError("this is not a payload: it does not begin with its version")
    if int(match[1]) != VERSION:
        raise DecodeError(f"payloads of version {match[1]} cannot be read here")
