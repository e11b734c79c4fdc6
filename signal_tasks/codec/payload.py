"""The payload of an event: its sender and keyword arguments as one text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from signal_tasks.codec.containers import is_plain
from signal_tasks.codec.reader import UNREADABLE, OnMissing, Reader
from signal_tasks.codec.refusal import Refused
from signal_tasks.codec.writer import TooLarge, Writer
from signal_tasks.exceptions import DecodeError, PayloadError

VERSION = 1
STACK = "the values are nested too deeply for what is left of the call stack"

# It stands first, so that it is known before anything of the rest is read.
_VERSION = re.compile(r'\{"v":(\d+),')

# ASCII, so that no database minds NUL or lone surrogates; the writer saw to cycles.
_dumps = json.JSONEncoder(
    check_circular=False, allow_nan=False, separators=(",", ":")
).encode


@dataclass(frozen=True, slots=True)
class Payload:
    """What a receiver is called with."""

    sender: object
    kwargs: dict[str, Any]


def encode(
    signal_name: str, sender: object, kwargs: Mapping[str, object], *, max_bytes: int
) -> str:
    """The payload as ASCII text; runs no query and nothing of the values' own code.

    Exceptions: encoders given to ``register_type``, and a lazy object or string, which
    is evaluated. Raises PayloadError for a value that cannot travel.
    """
    try:
        return _encode(Writer(max_bytes), sender, kwargs, max_bytes)
    except Refused as refused:
        path = _shortened(refused.path)
        raise PayloadError(signal_name, path, refused.problem) from refused.__cause__
    except RecursionError:
        raise PayloadError(signal_name, "kwargs", STACK) from None


def _encode(
    writer: Writer, sender: object, kwargs: Mapping[str, object], limit: int
) -> str:
    head = writer.write_at("sender", sender)
    body = {name: writer.write_at(name, kwargs[name]) for name in kwargs}
    words = _keywords(body, writer)
    text = _dumps({"v": VERSION, "sender": head, "kwargs": words})
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
    refused.path = max(parts, key=lambda name: len(_dumps(parts[name])))
    raise refused


def _shortened(path: str) -> str:
    return path if len(path) <= 240 else f"{path[:120]} ... {path[-100:]}"


def decode(text: str, *, on_missing: OnMissing = "reject") -> Payload:
    """The payload again, each model instance read from its database.

    A row that is gone raises MissingInstance, or is None with ``on_missing="none"``.
    Raises DecodeError for what this process cannot read.
    """
    _check_version(text)
    try:
        found = json.loads(text, object_hook=Reader(on_missing).read)
        payload = Payload(found["sender"], found["kwargs"])
    except UNREADABLE as error:
        raise DecodeError(f"the payload is damaged: {error!r}") from error
    if not isinstance(payload.kwargs, dict):
        raise DecodeError("the payload is damaged: its kwargs are not a dict")
    return payload


def _check_version(text: str) -> None:
    match = _VERSION.match(text)
    if match is None:
        raise DecodeError("this is not a payload: it does not begin with its version")
    if int(match[1]) != VERSION:
        raise DecodeError(f"payloads of version {match[1]} cannot be read here")
