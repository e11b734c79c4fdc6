"""The findings of an examination: a sentence each, with what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

Result = TypeVar("Result")


class Verdict(StrEnum):
    """The result of one step of the examination."""

    OK = "ok"
    #: It works, and something should be changed.
    ADVICE = "advice"
    #: Deliveries do not get through, or late.
    PROBLEM = "problem"
    #: It needs an earlier step that has failed.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination.

    Attributes:
        step: the thing that was examined.
        verdict: how it went.
        text: what was found, a sentence.
        remedy: what to do about it, or empty.
        details: numbers and names, for programs.
    """

    step: str
    verdict: Verdict
    text: str
    remedy: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def ok(step: str, text: str, **details: Any) -> Finding:
    """Return that a step is in order."""
    return Finding(step=step, verdict=Verdict.OK, text=text, details=details)


def advice(step: str, text: str, remedy: str) -> Finding:
    """Return that a step works, and should be changed."""
    return Finding(step=step, verdict=Verdict.ADVICE, text=text, remedy=remedy)


def problem(step: str, text: str, remedy: str, **details: Any) -> Finding:
    """Return that a step has failed, and what to do."""
    return Finding(
        step=step, verdict=Verdict.PROBLEM, text=text, remedy=remedy, details=details
    )


def skipped(step: str, text: str) -> Finding:
    """Return that a step could not be examined."""
    return Finding(step=step, verdict=Verdict.SKIPPED, text=text)


def within(seconds: float, function: Callable[[], Result]) -> Result:
    """Call a function in a thread of its own; return or raise what it does.

    Raises:
        TimeoutError: it takes longer, and is left to itself.
    """
    outcome: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        # Raised again by the thread that waits.
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run, name="signal_tasks-doctor", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return outcome[0]
