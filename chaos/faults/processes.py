"""Faults of processes: killed, paused or stopped while they work."""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

from django.db import connection, transaction

from chaos import journal
from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults.catalogue import POSTGRES, SQLITE, fault
from chaos.models import Effect
from chaos.processes import ManagedProcess, send_to, with_children
from chaos.runs import Run, begin_run, interrupt
from chaos.signals import instructed
from signal_tasks.models import Attempt, Delivery

#: The receiver to pause may have returned before it is paused: try again.
TRIES = 3


@fault("no fault", may_spend_attempt=False, may_repeat=False, mixed=False)
def no_fault(env: Environment) -> None:
    """Expect no repetition without a fault, and no payload in the workers' logs."""
    env.wait_until_busy()
    env.wait_for_deliveries()
    key = "no-fault-"
    logged = [p.name for p in env.processes.workers if key in p.output]
    if logged:
        raise PromiseBroken(f"a payload is in the log of {logged}")


@fault("SIGKILL of pool processes, three times")
def pool_killed(env: Environment) -> None:
    """Kill a pool process in the middle of a run."""
    for _ in range(3):
        env.wait_until_busy()
        interrupt(env, lambda run: send_to([run.pid], signal.SIGKILL))
        env.wait(env.rng.uniform(0.1, 0.4))


@fault("SIGKILL of a whole worker")
def worker_killed(env: Environment) -> None:
    """Kill a worker with all its pool processes, in the middle of a run."""
    env.wait_until_busy()
    interrupt(env, lambda run: _owner(env, run.pid).kill())


@fault("SIGKILL of a worker's main process; its pool lives on", short=False)
def main_killed(env: Environment) -> None:
    """Kill only the main process: its children may finish their deliveries."""
    env.wait_until_busy()
    _busy_worker(env).send(signal.SIGKILL)


@fault("SIGKILL of every worker and the web server at once", short=False)
def all_killed(env: Environment) -> None:
    """Kill all processes except the servers."""
    env.wait_until_busy()
    interrupt(env, partial(_kill_all, env))


@fault(
    "SIGKILL of the web server", may_spend_attempt=False, may_repeat=False, short=False
)
def web_killed(env: Environment) -> None:
    """Kill the web processes while they serve requests."""
    env.wait_until_busy()
    env.processes.by_name["web"].kill()


@fault("SIGSTOP of a worker past its lease, then SIGCONT")
def worker_paused(env: Environment) -> None:
    """Pause a worker within a receiver until another worker has run the delivery."""
    env.wait_until_busy()
    for remaining in reversed(range(TRIES)):
        key = f"paused-{env.rng.getrandbits(64)}"
        instructed.send(None, key=key, fault="sleep longer")
        try:
            _pause_past_lease(env, key)
        except FaultNotInjected:  # the receiver returned before it was paused
            if not remaining:
                raise
        else:
            return


def _pause_past_lease(env: Environment, key: str) -> None:
    kind = "effect" if env.vendor == SQLITE else "entered"
    (pid, *_) = env.wait_until(lambda: env.run_pids(key, kind), "run to be paused", 10)
    paused = _to_pause(env, pid)
    send_to(paused, signal.SIGSTOP)
    try:
        env.wait_until(lambda: len(env.run_pids(key, kind)) > 1, "second run", 8)
        env.expect(lambda: _all_succeeded(key), "end of the paused delivery", 15)
        finished = _rows(key)
    finally:
        send_to(paused, signal.SIGCONT)
    env.wait_until(
        lambda: _is_fenced(env, finished) or _rows(key) != finished, "late finish", 15
    )
    if _rows(key) != finished:
        raise PromiseBroken(f"{key}: a late worker changed a finished delivery")
    if Effect.objects.filter(kind="instructed", key=key).count() != 1:
        raise PromiseBroken(f"{key}: the atomic effect does not exist exactly once")


def _to_pause(env: Environment, pid: int) -> list[int]:
    """Return the processes to pause: the whole worker; on SQLite only one of them.

    Another pool process of the worker may hold SQLite's only lock. If it was paused
    too, no other worker could go on. The paused run is outside of any transaction.
    """
    if env.vendor == SQLITE:
        return [pid]
    worker = _owner(env, pid)
    return with_children(worker.pid)


@fault(
    "a killed database forgets the claim of a paused worker, which then goes on",
    needs=("database",),
    databases=[POSTGRES],
    while_busy=False,  # the workload is not to be forgotten
    mixed=False,
)
def claim_forgotten(env: Environment) -> None:
    """Have two workers run a delivery of which the database knows one claim."""
    env.wait_for_deliveries()
    _configure("SET synchronous_commit = off")
    try:
        _try_to_claim_twice(env)
    finally:
        env.query(lambda: _configure("RESET synchronous_commit"))


def _configure(change: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER SYSTEM {change}")
        cursor.execute("SELECT pg_reload_conf()")


def _try_to_claim_twice(env: Environment) -> None:
    for remaining in reversed(range(TRIES)):
        key = f"forgotten-{env.rng.getrandbits(64)}"
        writers = _writers()
        send_to(writers, signal.SIGSTOP)
        try:
            _send_and_keep(key)
            _have_claimed_twice(env, key, writers)
        except FaultNotInjected:
            if not remaining:
                raise
        else:
            return
        finally:
            send_to(writers, signal.SIGCONT)  # if the server has not been killed


def _writers() -> list[int]:
    """Return the processes of the server that write to the disk what is committed."""
    kinds = ["walwriter", "background writer", "checkpointer"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = ANY(%s)", [kinds]
        )
        return [pid for (pid,) in cursor.fetchall()]


def _send_and_keep(key: str) -> None:
    """Send, and write to the disk that and all that was committed before."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        instructed.send(None, key=key, fault="sleep longer")


def _have_claimed_twice(env: Environment, key: str, writers: list[int]) -> None:
    """Let the first worker go on while the second one runs the delivery.

    The ``writers`` of the server are paused.
    """
    runs = partial(env.run_pids, key, "entered")
    (pid, *_) = env.wait_until(runs, "run to be paused", 10)
    paused = with_children(_owner(env, pid).pid)
    send_to(paused, signal.SIGSTOP)
    try:
        _forget_claim(env, key, writers)
        env.wait_until(lambda: len(runs()) > 1, "second run", 8)
        held = _rows(key)
    finally:
        send_to(paused, signal.SIGCONT)
    env.wait_until(lambda: _is_fenced(env, held) or len(runs()) > 2, "late end", 15)
    env.expect(lambda: _all_succeeded(key), "end of the delivery", 15)
    lost = Attempt.objects.filter(error_type="WorkerLost")
    if lost.filter(delivery__in=_deliveries(key)).exists():
        raise FaultNotInjected("the second lease was over, too")
    if len(runs()) > 2:
        raise PromiseBroken(f"{key}: a forgotten claim has ended a later one")


def _forget_claim(env: Environment, key: str, writers: list[int]) -> None:
    if env.database is None:
        raise FaultNotInjected("the database is given by URL")
    journal.write("database killed")
    env.database.kill()
    send_to(writers, signal.SIGKILL)  # paused, they do not notice it
    env.database.start()
    (remembered,) = env.wait_until(
        lambda: [_deliveries(key).exclude(attempts=0).exists()], "database"
    )
    if remembered:
        raise FaultNotInjected("the database remembers the claim")


@fault(
    "SIGTERM to a worker's main process (warm stop)",
    may_spend_attempt=False,
    may_repeat=False,
)
def worker_stopped(env: Environment) -> None:
    """Stop a worker by its main process, as a supervisor of one process does."""
    env.wait_until_busy()
    _stop(env, _busy_worker(env), whole_group=False)


@fault("SIGTERM to all processes of a worker", may_spend_attempt=False)
def group_stopped(env: Environment) -> None:
    """Stop a worker with its pool, as systemd does: it releases its deliveries."""
    env.wait_until_busy()
    _stop(env, _busy_worker(env), whole_group=True)


@fault(
    "deploy: every worker stopped, one after the other",
    may_spend_attempt=False,
    may_repeat=False,
    short=False,
)
def deployed(env: Environment) -> None:
    """Stop each worker in turn, and wait until it has started again."""
    for worker in list(env.workers):
        env.wait_until_busy()
        _stop(env, worker, whole_group=False)
        env.expect(lambda worker=worker: worker.ready, "new worker", 30)  # type: ignore[misc]


def _busy_worker(env: Environment) -> ManagedProcess:
    """Return a worker in the middle of a run."""
    return _owner(env, begin_run(env).pid)


def _kill_all(env: Environment, _run: Run) -> None:
    for process in env.processes.by_name.values():
        process.kill()


def _stop(env: Environment, worker: ManagedProcess, *, whole_group: bool) -> None:
    """Stop a worker; raise if it does not stop in time, or with an error."""
    process = worker.process
    worker.keep_running = False
    (worker.send_all if whole_group else worker.send)(signal.SIGTERM)
    try:
        env.expect(lambda: not worker.alive, "end of the worker", 30)
    finally:
        worker.keep_running = True
    if process is not None and process.returncode not in (0, -signal.SIGTERM):
        raise PromiseBroken(f"a stopped worker ended with {process.returncode}")


def _owner(env: Environment, pid: int) -> ManagedProcess:
    for worker in env.workers:
        if pid in worker.children():
            return worker
    raise FaultNotInjected("the run has already ended")


def _all_succeeded(key: str) -> bool:
    rows = _deliveries(key)
    return rows.exists() and not rows.exclude(state="succeeded").exists()


def _is_fenced(env: Environment, finished: list[dict[str, Any]]) -> bool:
    """Return whether a worker has logged that it lost the lease of one of these."""
    output = "".join(worker.output for worker in env.processes.workers)
    lost = [line for line in output.splitlines() if " delivery_fenced " in line]
    return any(str(row["id"]) in line for row in finished for line in lost)


def _rows(key: str) -> list[dict[str, Any]]:
    return list(_deliveries(key).values())


def _deliveries(key: str) -> Any:
    text = f'"key":"{key}"'
    return Delivery.objects.filter(event__payload__contains=text).order_by("pk")
