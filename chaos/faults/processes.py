"""Faults of processes: killed, paused and asked to stop in the middle of work."""

from __future__ import annotations

import os
import signal
from typing import Any

from chaos.crew import Member, family, send_to
from chaos.faults.catalogue import SQLITE, fault
from chaos.models import Effect
from chaos.signals import ordered
from chaos.stage import Broken, NotMade, Stage
from signal_tasks.models import Delivery

#: How often a fault is tried that needs a receiver to be caught in the act.
TRIES = 3


@fault("nothing at all", spends=False, repeats=False, mixed=False)
def calm(stage: Stage) -> None:
    """Show what the count says when all is well, and that logs tell no payload."""
    stage.until_busy()
    stage.settle()
    telling = [m.name for m in stage.crew.workers if "calm-" in m.output]
    if telling:
        raise Broken(f"what was sent is in the log of {telling}")


@fault("SIGKILL of pool processes, three times")
def pool_killed(stage: Stage) -> None:
    """Kill a random pool process of a random worker."""
    for _ in range(3):
        stage.until_busy()
        victims = [pid for worker in stage.workers for pid in worker.children()]
        if not victims:
            raise NotMade("no pool process")
        os.kill(stage.rng.choice(victims), signal.SIGKILL)
        stage.wait(stage.rng.uniform(0.1, 0.4))


@fault("SIGKILL of a whole worker")
def worker_killed(stage: Stage) -> None:
    """Kill a worker with all its pool processes."""
    stage.until_busy()
    _any_worker(stage).kill()


@fault("SIGKILL of a worker's main process; its pool lives on", short=False)
def main_killed(stage: Stage) -> None:
    """Kill the main process alone: orphans may end what they run."""
    stage.until_busy()
    _any_worker(stage).send(signal.SIGKILL)


@fault("SIGKILL of every worker and the web server at once", short=False)
def all_killed(stage: Stage) -> None:
    """Kill everything but the servers."""
    stage.until_busy()
    for member in stage.crew.members.values():
        member.kill()


@fault("SIGKILL of the web server", spends=False, repeats=False, short=False)
def web_killed(stage: Stage) -> None:
    """Kill the web processes in the middle of whatever they do."""
    stage.until_busy()
    stage.crew.members["web"].kill()


@fault("SIGSTOP of a worker past its lease, then SIGCONT")
def worker_paused(stage: Stage) -> None:
    """Pause a worker in the middle of a receiver until another has run it."""
    stage.until_busy()
    for remaining in reversed(range(TRIES)):
        key = f"paused-{stage.rng.getrandbits(64)}"
        ordered.send(None, key=key, task="nap")
        try:
            _pause_past_lease(stage, key)
        except NotMade:  # its nap was over before it was paused
            if not remaining:
                raise
        else:
            return


def _pause_past_lease(stage: Stage, key: str) -> None:
    what = "effect" if stage.vendor == SQLITE else "entered"
    (pid, *_) = stage.until(lambda: stage.runs(key, what), "run to be paused", 10)
    paused = _paused(stage, pid)
    send_to(paused, signal.SIGSTOP)
    try:
        stage.until(lambda: len(stage.runs(key, what)) > 1, "second run", 8)
        stage.until(lambda: _all_succeeded(key), "end of what was paused", 15)
        ended = _ends(key)
    finally:
        send_to(paused, signal.SIGCONT)
    stage.until(lambda: _is_fenced(stage, ended) or _ends(key) != ended, "late end", 15)
    if _ends(key) != ended:
        raise Broken(f"{key}: a late worker wrote over the end")
    if Effect.objects.filter(what="obeyed", key=key).count() != 1:
        raise Broken(f"{key}: the atomic effect is not there exactly once")


def _paused(stage: Stage, pid: int) -> list[int]:
    """What to pause: the whole worker; on SQLite only the process that naps.

    Another one of that worker may just hold SQLite's only lock, and then nobody
    could go on. The one that naps is outside of any transaction.
    """
    if stage.vendor == SQLITE:
        return [pid]
    worker = _owner(stage, pid)
    return family(worker.pid)


@fault("SIGTERM to a worker's main process (warm stop)", spends=False, repeats=False)
def worker_stopped(stage: Stage) -> None:
    """Ask a worker to stop, as a supervisor of one process does."""
    stage.until_busy()
    _stop(stage, _any_worker(stage), whole_group=False)


@fault("SIGTERM to all processes of a worker", spends=False)
def group_stopped(stage: Stage) -> None:
    """Ask a worker with its pool to stop, as systemd does: it hands back."""
    stage.until_busy()
    _stop(stage, _any_worker(stage), whole_group=True)


@fault(
    "deploy: every worker stopped, one after the other",
    spends=False,
    repeats=False,
    short=False,
)
def deployed(stage: Stage) -> None:
    """Replace worker by worker."""
    stage.until_busy()
    for worker in list(stage.workers):
        _stop(stage, worker, whole_group=False)
        stage.until(lambda worker=worker: worker.ready, "new worker", 30)  # type: ignore[misc]


def _any_worker(stage: Stage) -> Member:
    if not stage.workers:
        raise NotMade("no worker is up")
    return stage.rng.choice(stage.workers)


def _stop(stage: Stage, worker: Member, *, whole_group: bool) -> None:
    """Ask a worker to stop and see that it does, within a bounded time."""
    process = worker.process
    worker.wanted = False
    (worker.send_all if whole_group else worker.send)(signal.SIGTERM)
    try:
        stage.until(lambda: not worker.alive, "end of the worker", 30)
    finally:
        worker.wanted = True
    if process is not None and process.returncode not in (0, -signal.SIGTERM):
        raise Broken(f"a worker that was asked to stop ended with {process.returncode}")


def _owner(stage: Stage, pid: int) -> Member:
    for worker in stage.workers:
        if pid in worker.children():
            return worker
    raise NotMade("the run had already ended")


def _all_succeeded(key: str) -> bool:
    owed = _deliveries(key)
    return owed.exists() and not owed.exclude(state="succeeded").exists()


def _is_fenced(stage: Stage, ended: list[dict[str, Any]]) -> bool:
    """Whether a worker has said that it came too late for one of these."""
    said = "".join(worker.output for worker in stage.crew.workers)
    lost = [line for line in said.splitlines() if " lease_lost " in line]
    return any(str(row["id"]) in line for row in ended for line in lost)


def _ends(key: str) -> list[dict[str, Any]]:
    return list(_deliveries(key).values())


def _deliveries(key: str) -> Any:
    text = f'"key":"{key}"'
    return Delivery.objects.filter(event__payload__contains=text).order_by("pk")
