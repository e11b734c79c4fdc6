"""How everything breaks."""

from __future__ import annotations

from chaos.incident.incident import BOOKING, MAIL, Incident
from chaos.incident.receivers import CODE_HAS_BUG, MAIL_IS_DOWN, flag
from signal_tasks import health


def break_everything(incident: Incident) -> None:
    """Start with a healthy system; end without broker and workers."""
    begin(incident)
    break_receivers(incident)
    freeze_broker_and_kill_workers(incident)


def begin(incident: Incident) -> None:
    """Start the workers and see that all is well."""
    with incident.steps("workers of two hosts start") as step:
        incident.start_workers()
        incident.wait(lambda: health()["healthy"], "a healthy start")
        step.seen = ", ".join(incident.steps.shell.json("status")["workers"])


def break_receivers(incident: Incident) -> None:
    """Break the mail server and the code, and send."""
    numbers = incident.numbers
    with incident.steps("the mail server is down, the code has a bug") as step:
        flag(MAIL_IS_DOWN).touch()
        flag(CODE_HAS_BUG).touch()
        incident.send_mails(range(numbers.mails))
        incident.wait(lambda: incident.counts(MAIL)["dead"] == numbers.mails, "dead")
        kinds = ["bug"] * numbers.bugs + ["departed"] * numbers.departed
        incident.send_bookings([*kinds, *["unclear"] * numbers.unclear])
        incident.wait(lambda: incident.counts(BOOKING)["dead"] > 0, "dead bookings")
        step.seen = f"{numbers.mails} dead mails; bookings begin to die"


def freeze_broker_and_kill_workers(incident: Incident) -> None:
    """Freeze Redis, kill a worker amid its work, and the other one later."""
    with incident.steps("Redis freezes, kill -9 of all workers") as step:
        east, west = incident.env.processes.workers
        incident.broker.pause()
        east.keep_running = west.keep_running = False
        east.kill()
        numbers = incident.numbers
        incident.send_mails(range(numbers.mails, numbers.mails + numbers.late))
        incident.wait(lambda: health()["broker_errors"], "the broker's failure")
        west.kill()
        incident.wait(lambda: not health()["workers"], "the end of all workers")
        step.seen = f"{numbers.late} more mails wait; no worker reports"
