"""Pools other than those of long-lived processes: they do the work, and are killed."""

from __future__ import annotations

from chaos import journal
from chaos.environment import Environment, FaultNotInjected, PromiseBroken
from chaos.faults.catalogue import SERVERS, fault
from chaos.models import Effect
from chaos.processes import ManagedProcess
from chaos.runs import Run, interrupt

#: Processes, threads and greenlets of a worker. Celery forks only every 0.8 s.
PROCESSES, THREADS, GREENLETS = "12", "4", "10"


@fault(
    "a worker whose pool processes end after one message each",
    may_spend_attempt=False,
    may_repeat=False,
    mixed=False,
    short=False,
)
def recycled_processes(env: Environment) -> None:
    """Have each message run by a process of its own, which ends behind it."""
    started = _stop_workers(env)
    _start(env, "recycled", "-c", PROCESSES, "--max-tasks-per-child", "1")
    env.wait_until_busy()
    env.wait_for_deliveries()
    pids = _pids_of_runs(env, started)
    found = f"{len(pids)} external effects in {len(set(pids))} processes"
    if len(set(pids)) <= int(PROCESSES):
        raise FaultNotInjected(found)
    env.notes.append(found)


@fault("SIGKILL of a worker of threads", mixed=False, short=False, databases=SERVERS)
def threads_killed(env: Environment) -> None:
    """Kill a worker that runs all deliveries in threads of its only process."""
    _kill_only_worker(env, "threads", "-P", "threads", "-c", THREADS)


@fault("SIGKILL of a worker of greenlets", mixed=False, short=False, databases=SERVERS)
def greenlets_killed(env: Environment) -> None:
    """Kill a worker that runs all deliveries in greenlets of its only process."""
    _kill_only_worker(env, "greenlets", "-P", "gevent", "-c", GREENLETS)


def _kill_only_worker(env: Environment, name: str, *options: str) -> None:
    """Have one worker do all the work, and kill it in a run; it starts again."""
    started = _stop_workers(env)
    worker = _start(env, name, *options)
    env.wait_until_busy()
    run = interrupt(env, lambda _: worker.kill())
    env.wait_for_deliveries()
    _expect_rerun(env, run)
    pids = _pids_of_runs(env, started)
    before, after = pids.count(run.pid), pids.count(worker.pid)
    found = f"{before} external effects before it was killed, {after} after"
    if worker.pid == run.pid or not after:
        raise FaultNotInjected(found)
    env.notes.append(found)


def _stop_workers(env: Environment) -> float:
    """Stop all workers; return the moment after which none of them has run anything."""
    env.stop_workers()
    return journal.now()


def _start(env: Environment, name: str, *options: str) -> ManagedProcess:
    worker = env.processes.add_worker(name, *options)
    env.wait_until(lambda: worker.ready, f"worker of {name}", 60)
    return worker


def _expect_rerun(env: Environment, run: Run) -> None:
    """Expect both deliveries of the interrupted event to be made up for."""
    effects = Effect.objects.filter(kind="instructed", key=run.key).count()
    runs = len(env.run_pids(run.key))
    if effects != 1 or runs < 2:
        raise PromiseBroken(f"{run.key}: {effects} atomic effects, {runs} runs")


def _pids_of_runs(env: Environment, since: float) -> list[int]:
    """Return the process of each external effect since a moment of the journal."""
    records = journal.read(env.folder)
    return [one.pid for one in records if one.kind == "effect" and one.at > since]
