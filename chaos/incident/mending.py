"""How an operator puts it right, with a shell."""

from __future__ import annotations

from chaos import journal
from chaos.incident.incident import ADA, BOB, BOOKING, MAIL, Incident
from chaos.incident.receivers import CODE_HAS_BUG, MAIL_IS_DOWN, flag
from chaos.incident.steps import expect
from signal_tasks import health


def mend_everything(incident: Incident) -> None:
    """Put everything right, step by step."""
    for step in (
        look,
        pause,
        start_again,
        find,
        replay_too_early,
        replay_what_is_mended,
        replay_what_was_tried,
        discard,
        resume,
        replay_mails,
        drain,
        acknowledge,
        close,
    ):
        step(incident)


def look(incident: Incident) -> None:
    """See what is wrong."""
    with incident.steps("look: what is wrong?") as step:
        report = incident.steps.shell.json("status", expect=1)
        step.said = report["problems"]
        said = "; ".join(step.said)
        for part in ("died and nobody has looked", "no live worker", "the broker"):
            expect(part in said, f"status does not say {part!r}: {said}")
        groups = incident.read_groups()
        step.seen = (
            f"unhealthy: {report['dead']} new dead letters in {len(groups)} "
            "groups, no worker, broker"
        )


def pause(incident: Incident) -> None:
    """Pause the mails before anything is started again."""
    with incident.steps("pause the mails") as step:
        because = ("--because", "mail server is down, ticket 812")
        incident.steps.shell.json("pause", f"receiver:{MAIL}", *because, *ADA)
        incident.moments["paused"] = journal.now()
        (pause,) = incident.steps.shell.json("pause")
        step.seen = f"by {pause['by']}: {pause['reason']}"


def start_again(incident: Incident) -> None:
    """Mend the broker, start workers, and wait until the bookings have run."""
    with incident.steps("Redis answers again, workers start") as step:
        incident.broker.resume()
        for worker in incident.env.processes.workers:
            worker.keep_running = True
        incident.start_workers()
        incident.wait(lambda: not incident.waiting(BOOKING), "the last bookings")
        report = incident.steps.shell.json("status", expect=1)
        step.said = report["problems"]
        said = "; ".join(step.said)
        expect("no live worker" not in said, said)
        expect("the broker" not in said, said)
        expect("ticket 812" in said, said)
        step.seen = f"{len(report['workers'])} workers, what was interrupted ran"


def find(incident: Incident) -> None:
    """Find what has failed, by its cause."""
    numbers = incident.numbers
    with incident.steps("find: what has died of what?") as step:
        groups = incident.read_groups()
        step.said = incident.steps.shell.run("dead", "--group").splitlines()
        expected = {
            "MailServerDown": numbers.mails,
            "KeyError": numbers.bugs,
            "FlightDeparted": numbers.departed,
            "PaymentUnclear": numbers.unclear,
        }
        dead = {kind: group["dead"] for kind, group in groups.items()}
        expect(dead == expected, f"the groups are {dead}, not {expected}")
        step.seen = ", ".join(f"{number} {kind}" for kind, number in dead.items())


def replay_too_early(incident: Incident) -> None:
    """Replay one group while the bug is still there."""
    group = incident.groups["KeyError"]
    incident.moments["replayed"] = journal.now()
    with incident.steps("replay one cause, while the bug is there") as step:
        why = ("--because", "the bug is mended (it is not)")
        replay = ("replay", "--group", group, *why, "--wait", *BOB)
        seen = incident.steps.shell.json(*replay, expect=1)
        expect(seen["state"] == "stopped", str(seen))
        expect("KeyError" in seen["note"], str(seen))
        listed = incident.steps.shell.json("operations")
        expect(listed[0]["state"] == "stopped", str(listed))
        incident.operations["replay"] = seen
        step.seen = f"the canary stops: {seen['note']}"


def replay_what_is_mended(incident: Incident) -> None:
    """Mend the bug and let the operation go on."""
    with incident.steps("deploy the mended code, resume that operation") as step:
        flag(CODE_HAS_BUG).unlink()
        pk = incident.operations["replay"]["id"]
        why = ("--because", "deployed 4.2")
        resume = ("operations", pk, "--resume", *why, "--wait", *BOB)
        seen = incident.steps.shell.json(*resume, expect=1)
        incident.operations["replay"] = seen
        expect(seen["state"] == "done" and seen["failed"] == 1, str(seen))
        step.seen = f"{seen['done']} of {seen['total']} replayed, 1 failed before"


def replay_what_was_tried(incident: Incident) -> None:
    """Replay what failed in the step that stopped the canary."""
    numbers = incident.numbers
    with incident.steps("replay what the canary had tried") as step:
        why = ("--because", "tried before 4.2")
        group = incident.groups["KeyError"]
        replay = ("replay", "--group", group, *why, "--wait", *BOB)
        again = incident.steps.shell.json(*replay)
        incident.operations["replay again"] = again
        incident.wait(lambda: not incident.waiting(BOOKING), "the bookings")
        booked = incident.counts(BOOKING)["succeeded"]
        expect(booked == numbers.bugs, f"{booked} bookings succeeded: {again}")
        step.seen = f"{again['done']} replayed, {booked} bookings succeeded"


def discard(incident: Incident) -> None:
    """Discard what nobody can mend."""
    with incident.steps("discard the hopeless cause") as step:
        why = ("--because", "flights have departed, customers are told")
        group = incident.groups["FlightDeparted"]
        discard = ("discard", "--group", group, *why, "--wait", *BOB)
        seen = incident.steps.shell.json(*discard)
        incident.operations["discard"] = seen
        expect(seen["done"] == incident.numbers.departed, str(seen))
        step.seen = f"{seen['done']} discarded"


def resume(incident: Incident) -> None:
    """Mend the mail server and resume the mails."""
    with incident.steps("the mail server answers, resume the mails") as step:
        flag(MAIL_IS_DOWN).unlink()
        incident.moments["resumed"] = journal.now()
        why = ("--because", "mail server is back")
        incident.steps.shell.json("resume", f"receiver:{MAIL}", *why, *ADA)
        incident.wait(lambda: not incident.waiting(MAIL), "the mails that waited")
        step.seen = f"{incident.counts(MAIL)['succeeded']} that waited are sent"


def replay_mails(incident: Incident) -> None:
    """Replay the dead mails."""
    with incident.steps("replay the dead mails, by a canary") as step:
        why = ("--because", "mail server is back, ticket 812")
        group = incident.groups["MailServerDown"]
        replay = ("replay", "--group", group, "--canary", *why, "--wait", *ADA)
        seen = incident.steps.shell.json(*replay)
        incident.operations["mails"] = seen
        expect(seen["done"] == incident.numbers.mails, str(seen))
        step.seen = f"{seen['state']}: {seen['done']} of {seen['total']}"


def drain(incident: Incident) -> None:
    """Wait until nothing is waiting or running."""
    with incident.steps("drain") as step:
        incident.wait(lambda: not _unfinished(), "the end")
        step.seen = "nothing waits or runs"


def _unfinished() -> int:
    report = health()
    return report["pending"] + report["running"]


def acknowledge(incident: Incident) -> None:
    """Say what is to be done about the rest, and that it was seen."""
    with incident.steps("note and acknowledge what stays dead") as step:
        note = ("note", incident.groups["PaymentUnclear"], "ask the bank, ticket 813")
        incident.steps.shell.json(*note, *BOB)
        why = ("--because", "only ticket 813 is left")
        seen = incident.steps.shell.json("acknowledge", *why, *ADA)
        step.seen = f"{seen['acknowledged']} seen by {seen['by']}"


def close(incident: Incident) -> None:
    """See that all is well, and who did what."""
    with incident.steps("all well? who did what?") as step:
        report = incident.steps.shell.json("status")
        expect(report["healthy"] and not report["problems"], str(report))
        step.said = incident.steps.shell.run("log").splitlines()
        entries = incident.steps.shell.json("log")
        acts = [f"{entry['by']} {entry['verb']}" for entry in entries[::-1]]
        step.seen = f"healthy; {', '.join(acts)}"
