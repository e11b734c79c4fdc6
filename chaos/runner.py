"""Run the suite: start the servers, set Django up for them, and run the schedule.

Do not import at the top what needs Django's settings: these read the servers'
addresses from the environment, so the servers have to be started first.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command

from chaos.servers import MariaServer, RabbitServer
from shop.embedded import PostgresServer, RedisServer
from shop.servers import Server, ServerError

if TYPE_CHECKING:
    from chaos.environment import Environment
    from chaos.results import FaultResult

#: Fewest events with faults at random, and their number in the short form.
MIN_MIXED_EVENTS, SHORT_MIXED_EVENTS = 1000, 100
#: Longest wait for all deliveries to finish in an engine with a mutation (seconds).
MUTATION_PATIENCE = 5.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command line."""

    database: str
    broker: str
    seed: str
    events: int
    faults: list[str]
    short: bool
    mutation: str
    markdown: Path | None
    json: Path | None
    list: bool


def run(options: Options) -> int:
    """Run the suite; return 1 if a promise was broken, else 0."""
    try:
        return _run(options)
    except ServerError as error:
        raise SystemExit(f"The suite cannot run on this machine: {error}") from error


def _run(options: Options) -> int:
    with ExitStack() as closing:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        os.environ["CHAOS_FOLDER"] = str(folder)
        os.environ["CHAOS_SEED"] = options.seed
        os.environ["CHAOS_MUTATION"] = options.mutation
        database = _database(options.database, folder, closing)
        broker = _broker(options.broker, folder, closing)
        django.setup()
        if options.list:
            return _list_faults()
        env = _environment(options, folder, database, broker, closing)
        started = time.monotonic()
        results = list(_results(options, env))
        passed = _report(options, results, time.monotonic() - started)
    if passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _print(f"The logs and the journal are in {folder}.")
    return 0 if passed else 1


def _database(name: str, folder: Path, closing: ExitStack) -> Server | None:
    """Start the database of this name, unless it is a URL."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "chaos.settings"
    server: Server | None = None
    match name:
        case "postgres":
            server = PostgresServer(fsync=True)
        case "mariadb":
            server = MariaServer()
        case "sqlite":
            os.environ["CHAOS_DATABASE"] = f"sqlite:///{folder / 'chaos.sqlite3'}"
        case url:
            os.environ["CHAOS_DATABASE"] = url
    if server is not None:
        closing.enter_context(server)
        os.environ["CHAOS_DATABASE"] = server.url
    return server


def _broker(name: str, folder: Path, closing: ExitStack) -> Server | None:
    """Start the broker of this name, unless it is a URL."""
    server: Server | None = None
    match name:
        case "redis":
            server = RedisServer(folder / "redis")
        case "rabbitmq" | "rabbitmq-classic":
            server = RabbitServer()
            kind = "classic" if name.endswith("classic") else "quorum"
            os.environ["CHAOS_QUEUE_TYPE"] = kind
        case url:
            os.environ["CHAOS_BROKER"] = url
    if server is not None:
        closing.enter_context(server)
        os.environ["CHAOS_BROKER"] = server.url
    return server


def _environment(
    options: Options,
    folder: Path,
    database: Server | None,
    broker: Server | None,
    closing: ExitStack,
) -> Environment:
    """Create the tables and start the workers and the web server."""
    from chaos.environment import Environment
    from chaos.processes import Processes
    from signal_tasks.models import Event

    call_command("migrate", verbosity=0)
    if Event.objects.exists():
        raise SystemExit("This database contains events. Use an empty one.")
    processes = Processes(folder)
    closing.callback(processes.remove_all)
    env = Environment(folder, processes, database, broker, options.seed, options.short)
    if options.mutation:
        env.patience = MUTATION_PATIENCE
    env.url = processes.add_web()
    env.restore()
    env.wait_until_ready()
    return env


def _results(options: Options, env: Environment) -> list[FaultResult]:
    """Inject the faults and print each result at once."""
    from chaos import report, schedule
    from chaos.faults import selected

    faults = list(selected(options.faults, env))
    if not faults:
        raise SystemExit(f"No fault of {', '.join(options.faults)} applies here.")
    _print(report.heading())
    results = [_printed(result) for result in schedule.run_each(env, faults)]
    mixable = [fault for fault in faults if fault.mixed]
    sent = sum(result.check.events for result in results)
    events = max(options.events - sent, MIN_MIXED_EVENTS)
    if options.short:
        events = SHORT_MIXED_EVENTS
    if mixable and options.events:
        results.append(_printed(schedule.run_mixed(env, mixable, events)))
    return results


def _printed(result: FaultResult) -> FaultResult:
    from chaos import report

    _print(report.line(result))
    for text in (*result.notes, *result.check.violations):
        _print(f"    {text}")
    return result


def _report(options: Options, results: list[FaultResult], seconds: float) -> bool:
    """Print a summary, write the requested files; return whether the run passed."""
    from chaos import observations, report
    from chaos.checker import RECEIVERS

    rolled_back = observations.events_without_ticket()
    events = sum(result.check.events for result in results)
    passed = all(result.passed for result in results) and not rolled_back
    database = _without_password(options.database)
    broker = _without_password(options.broker)
    facts = [
        f"database {database}, broker {broker}, seed {options.seed}",
        f"{events} events, {RECEIVERS * events} deliveries, {len(results)} rows, {seconds:.0f} s",
        f"events of transactions that were rolled back: {rolled_back}",
        report.machine(),
        report.servers(),
    ]
    for fact in facts:
        _print(fact)
    if options.markdown:
        report.write(options.markdown, report.markdown(results, facts))
    if options.json:
        about = {"database": database, "broker": broker, "seed": options.seed}
        about["servers"] = report.servers()
        text = report.as_json(results, **about, seconds=round(seconds))
        report.write(options.json, text)
    _print("Every promise was kept." if passed else "A promise was broken.")
    return passed


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//", url)


def _list_faults() -> int:
    from chaos.faults import CATALOGUE

    for fault in CATALOGUE.values():
        _print(f"{fault.group:12} {fault.name:24} {fault.title}")
    return 0


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
