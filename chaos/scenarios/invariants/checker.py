"""Check all invariants of the shop after the last delivery.

An effect is expected of each committed row, whatever response the request got; and
each acknowledged operation must be committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from chaos.scenarios.client import Acknowledged
from chaos.scenarios.invariants.acknowledgements import uncommitted
from chaos.scenarios.invariants.comparison import Comparison, compare
from chaos.scenarios.invariants.emails import check_emails
from chaos.scenarios.invariants.profiles import check_profiles
from chaos.scenarios.invariants.stock import check_stock
from chaos.scenarios.observations import Observations
from notifications.models import Notification
from signal_tasks.models import Attempt, Delivery

# Emails that are not sent if they are no longer true.
WITHDRAWN = (
    "Your order {} is confirmed",
    "Part of your order {} is on back-order",
    "You get our newsletter",
)
CLOCK_TOLERANCE = 1.0  # seconds between the time of a fault and that of a message


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """All comparisons, and the results for messages and deliveries."""

    comparisons: list[Comparison]
    uncommitted: list[Acknowledged]
    repeated: int
    unexplained: list[str]
    states: Counter[str]

    @property
    def valid(self) -> bool:
        """Return whether all invariants hold."""
        hold = all(comparison.holds for comparison in self.comparisons)
        succeeded = set(self.states) <= {"succeeded"}
        return hold and succeeded and not self.uncommitted and not self.unexplained


def check(observed: Observations) -> CheckResult:
    """Check all invariants."""
    arrivals = observed.arrivals
    states = Delivery.objects.order_by().values_list("state", flat=True)
    return CheckResult(
        comparisons=[
            *check_stock(observed),
            check_profiles(),
            *check_emails(observed),
            _check_inbox(observed),
        ],
        uncommitted=list(uncommitted(observed.acknowledged)),
        repeated=sum(len(times) - 1 for times in arrivals.values()),
        unexplained=list(_unexplained(arrivals, observed.injected)),
        states=Counter(states),
    )


def _check_inbox(observed: Observations) -> Comparison:
    """Compare the inbox with the received emails.

    A process may die after it sent an email and before it recorded that. The email is
    then sent and recorded again, unless it is no longer true.
    """
    return compare(
        "email in the inbox",
        "was received",
        Notification.objects.values_list("message_id", flat=True),
        observed.arrivals,
        allowed=observed.message_ids(WITHDRAWN),
    )


def _unexplained(
    arrivals: Mapping[str, list[float]], injected: Iterable[tuple[float, str]]
) -> Iterator[str]:
    """Yield each message that arrived more often than its delivery was claimed.

    Each claim but the last has left a failed attempt. A claim does not wait for the
    disk: if PostgreSQL is killed within a second, it may forget the claim.
    """
    crashes = [when for when, name in injected if name.startswith("PostgreSQL")]
    for message_id, times in arrivals.items():
        if len(times) > 1:
            key = UUID(message_id.strip("<>").partition("@")[0])
            claims = 1 + Attempt.objects.filter(delivery_id=key).count()
            begin = times[0] - CLOCK_TOLERANCE
            forgotten = sum(begin < when < times[-1] for when in crashes)
            if len(times) > claims + forgotten:
                yield f"{message_id} arrived {len(times)} times, claimed {claims} times"
