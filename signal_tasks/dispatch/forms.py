"""The form in which the keywords of a foreign signal travel."""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet

from signal_tasks.exceptions import PayloadError
from signal_tasks.registry.naming import ReceiverFunction, name_of, origin
from signal_tasks.registry.registry import Receiver

#: Senders that are code, and no data.
CODE = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.ModuleType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form in which a foreign signal's keywords travel to a receiver."""

    exclude: frozenset[str]
    snapshot: bool
    raw: bool

    def sender(self, sender: Any) -> Any:
        """Return the sender that travels.

        None, strings, classes and rows do as they are, functions and modules by their
        name. Any other object is a service or a view that no worker has: its class.
        """
        if "sender" in self.exclude:
            return None
        if isinstance(sender, CODE):
            return name_of(sender)
        if sender is None or isinstance(sender, str | type | Model):
            return sender
        return sender.__class__

    def apply(self, named: dict[str, Any]) -> dict[str, Any]:
        """Return the keywords that travel."""
        kept = {key: named[key] for key in named if key not in self.exclude}
        if isinstance(kept.get("origin"), QuerySet):
            kept["origin"] = None  # post_delete names the QuerySet that deletes
        return kept


def refuse_missing(function: ReceiverFunction, form: Form) -> None:
    """Refuse a receiver that cannot be called without what is excluded."""
    for name, parameter in inspect.signature(function).parameters.items():
        is_required = parameter.default is parameter.empty
        if name in form.exclude - {"sender"} and is_required:
            raise ImproperlyConfigured(
                f"{origin(function)} cannot be called without {name!r}, which its "
                f"exclude= keeps back; remove it from the one or the other."
            )


def advice(
    error: PayloadError, values: dict[str, Any], form: Form, receivers: list[Receiver]
) -> str:
    """Return the ways that whoever connected the receivers has to avoid an error."""
    named = error.argument
    ways = [f"exclude=[{named!r}]"] if named else []
    if isinstance(values.get(named), Model) and not form.snapshot:
        ways.append("snapshot=True")
    ways.append("django.dispatch.receiver, which hears it here and now")
    heard = ", ".join(_where(receiver) for receiver in receivers)
    return f"this is for {heard}: connect it with {', or with '.join(ways)}"


def _where(receiver: Receiver) -> str:
    """Return the name of a receiver, with the file and line of its function."""
    function = inspect.unwrap(receiver.function() or _where)
    code = getattr(function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{receiver.name}{place}"
