"""Faults of processes: killed, paused and asked to stop in the middle of work."""

from __future__ import annotations

import os
import signal
from typing import Any

from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults.catalogue import SQLITE, fault
from chaos.models import Effect
from chaos.processes import ManagedProcess, family, send_to
from chaos.signals import ordered
from signal_tasks.models import Delivery

#: How often a fault is tried that needs a receiver to be caught in the act.
TRIES = 3


@fault("nothing at all", may_spend_attempt=False, may_repeat=False, mixed=False)
def calm(env: Environment) -> None:
    """Show what the count says when all is well, and that logs tell no payload."""
    env.wait_until_busy()
    env.wait_for_deliveries()
    telling = [m.name for m in env.processes.workers if "calm-" in m.output]
    if telling:
        raise PromiseBroken(f"what was sent is in the log of {telling}")


@fault("SIGKILL of pool processes, three times")
def pool_killed(env: Environment) -> None:
    """Kill a random pool process of a random worker."""
    for _ in range(3):
        env.wait_until_busy()
        victims = [pid for worker in env.workers for pid in worker.children()]
        if not victims:
            raise FaultNotInjected("no pool process")
        os.kill(env.rng.choice(victims), signal.SIGKILL)
        env.wait(env.rng.uniform(0.1, 0.4))


@fault("SIGKILL of a whole worker")
def worker_killed(env: Environment) -> None:
    """Kill a worker with all its pool processes."""
    env.wait_until_busy()
    _any_worker(env).kill()


@fault("SIGKILL of a worker's main process; its pool lives on", short=False)
def main_killed(env: Environment) -> None:
    """Kill the main process alone: orphans may end what they run."""
    env.wait_until_busy()
    _any_worker(env).send(signal.SIGKILL)


@fault("SIGKILL of every worker and the web server at once", short=False)
def all_killed(env: Environment) -> None:
    """Kill everything but the servers."""
    env.wait_until_busy()
    for member in env.processes.members.values():
        member.kill()


@fault(
    "SIGKILL of the web server", may_spend_attempt=False, may_repeat=False, short=False
)
def web_killed(env: Environment) -> None:
    """Kill the web processes in the middle of whatever they do."""
    env.wait_until_busy()
    env.processes.members["web"].kill()


@fault("SIGSTOP of a worker past its lease, then SIGCONT")
def worker_paused(env: Environment) -> None:
    """Pause a worker in the middle of a receiver until another has run it."""
    env.wait_until_busy()
    for remaining in reversed(range(TRIES)):
        key = f"paused-{env.rng.getrandbits(64)}"
        ordered.send(None, key=key, task="nap")
        try:
            _pause_past_lease(env, key)
        except FaultNotInjected:  # its nap was over before it was paused
            if not remaining:
                raise
        else:
            return


def _pause_past_lease(env: Environment, key: str) -> None:
    what = "effect" if env.vendor == SQLITE else "entered"
    (pid, *_) = env.wait_until(lambda: env.runs(key, what), "run to be paused", 10)
    paused = _paused(env, pid)
    send_to(paused, signal.SIGSTOP)
    try:
        env.wait_until(lambda: len(env.runs(key, what)) > 1, "second run", 8)
        env.wait_until(lambda: _all_succeeded(key), "end of what was paused", 15)
        ended = _ends(key)
    finally:
        send_to(paused, signal.SIGCONT)
    env.wait_until(
        lambda: _is_fenced(env, ended) or _ends(key) != ended, "late end", 15
    )
    if _ends(key) != ended:
        raise PromiseBroken(f"{key}: a late worker wrote over the end")
    if Effect.objects.filter(what="obeyed", key=key).count() != 1:
        raise PromiseBroken(f"{key}: the atomic effect is not there exactly once")


def _paused(env: Environment, pid: int) -> list[int]:
    """What to pause: the whole worker; on SQLite only the process that naps.

    Another one of that worker may just hold SQLite's only lock, and then nobody
    could go on. The one that naps is outside of any transaction.
    """
    if env.vendor == SQLITE:
        return [pid]
    worker = _owner(env, pid)
    return family(worker.pid)


@fault(
    "SIGTERM to a worker's main process (warm stop)",
    may_spend_attempt=False,
    may_repeat=False,
)
def worker_stopped(env: Environment) -> None:
    """Ask a worker to stop, as a supervisor of one process does."""
    env.wait_until_busy()
    _stop(env, _any_worker(env), whole_group=False)


@fault("SIGTERM to all processes of a worker", may_spend_attempt=False)
def group_stopped(env: Environment) -> None:
    """Ask a worker with its pool to stop, as systemd does: it hands back."""
    env.wait_until_busy()
    _stop(env, _any_worker(env), whole_group=True)


@fault(
    "deploy: every worker stopped, one after the other",
    may_spend_attempt=False,
    may_repeat=False,
    short=False,
)
def deployed(env: Environment) -> None:
    """Replace worker by worker."""
    env.wait_until_busy()
    for worker in list(env.workers):
        _stop(env, worker, whole_group=False)
        env.wait_until(lambda worker=worker: worker.ready, "new worker", 30)  # type: ignore[misc]


def _any_worker(env: Environment) -> ManagedProcess:
    if not env.workers:
        raise FaultNotInjected("no worker is up")
    return env.rng.choice(env.workers)


def _stop(env: Environment, worker: ManagedProcess, *, whole_group: bool) -> None:
    """Ask a worker to stop and see that it does, within a bounded time."""
    process = worker.process
    worker.wanted = False
    (worker.send_all if whole_group else worker.send)(signal.SIGTERM)
    try:
        env.wait_until(lambda: not worker.alive, "end of the worker", 30)
    finally:
        worker.wanted = True
    if process is not None and process.returncode not in (0, -signal.SIGTERM):
        raise PromiseBroken(
            f"a worker that was asked to stop ended with {process.returncode}"
        )


def _owner(env: Environment, pid: int) -> ManagedProcess:
    for worker in env.workers:
        if pid in worker.children():
            return worker
    raise FaultNotInjected("the run had already ended")


def _all_succeeded(key: str) -> bool:
    owed = _deliveries(key)
    return owed.exists() and not owed.exclude(state="succeeded").exists()


def _is_fenced(env: Environment, ended: list[dict[str, Any]]) -> bool:
    """Whether a worker has said that it came too late for one of these."""
    said = "".join(worker.output for worker in env.processes.workers)
    lost = [line for line in said.splitlines() if " lease_lost " in line]
    return any(str(row["id"]) in line for row in ended for line in lost)


def _ends(key: str) -> list[dict[str, Any]]:
    return list(_deliveries(key).values())


def _deliveries(key: str) -> Any:
    text = f'"key":"{key}"'
    return Delivery.objects.filter(event__payload__contains=text).order_by("pk")
