"""The result of a message, as its task returns it and tests read it."""

from __future__ import annotations

from dataclasses import dataclass, field

from signal_tasks.delivery.outcome import Outcome
from signal_tasks.states import State


@dataclass(slots=True)
class MessageResult:
    """The result of a message: what became of the deliveries that it names."""

    outcomes: list[Outcome] = field(default_factory=list)
    fenced: int = 0
    released: int = 0
    not_due: int = 0
    held: int = 0
    isolated: int = 0
    hook_errors: list[BaseException] = field(default_factory=list)

    @property
    def failures(self) -> list[BaseException]:
        """The errors of the failed attempts."""
        return [o.error for o in self.outcomes if o.error is not None]

    @property
    def has_dead(self) -> bool:
        """True if a delivery has become a dead letter."""
        return any(outcome.state is State.DEAD for outcome in self.outcomes)

    def __str__(self) -> str:
        counts = {
            "succeeded": sum(outcome.succeeded for outcome in self.outcomes),
            "failed": len(self.failures),
            "fenced": self.fenced,
            "released": self.released,
            "not due": self.not_due,
            "held": self.held,
            "isolated": self.isolated,
            "hooks failed": len(self.hook_errors),
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        return ", ".join(parts) or "nothing to do"
