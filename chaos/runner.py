"""Puts up the servers, sets up Django for them, and lets the conductor begin.

Nothing of Django's may be imported here before the servers are known: the settings
read their addresses from the environment.
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
    from chaos.schedule import Row

#: Events of the mix, at least, and those of the short form.
LEAST_MIX, SHORT_MIX = 1000, 100
#: Longest wait for what a broken engine owes (seconds).
MUTATION_PATIENCE = 5.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be run, on what."""

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


def perform(plan: Plan) -> int:
    """Run the plan; 1 when a promise was broken, 0 when none was."""
    try:
        return _perform(plan)
    except ServerError as error:
        raise SystemExit(f"{error} The suite cannot run on this machine so.") from error


def _perform(plan: Plan) -> int:
    with ExitStack() as closing:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        os.environ["CHAOS_FOLDER"] = str(folder)
        os.environ["CHAOS_SEED"] = plan.seed
        os.environ["CHAOS_MUTATION"] = plan.mutation
        database = _database(plan.database, folder, closing)
        broker = _broker(plan.broker, folder, closing)
        django.setup()
        if plan.list:
            return _list_faults()
        env = _stage(plan, folder, database, broker, closing)
        started = time.monotonic()
        rows = list(_rows(plan, env))
        passed = _report(plan, rows, time.monotonic() - started)
    if passed:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _say(f"The logs and the journal are in {folder}.")
    return 0 if passed else 1


def _database(name: str, folder: Path, closing: ExitStack) -> Server | None:
    """Start the database of that name, unless it is a URL."""
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
    """Start the broker of that name, unless it is a URL."""
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


def _stage(
    plan: Plan,
    folder: Path,
    database: Server | None,
    broker: Server | None,
    closing: ExitStack,
) -> Environment:
    """Make the tables and start workers and web."""
    from chaos.environment import Environment
    from chaos.processes import Processes
    from signal_tasks.models import Event

    call_command("migrate", verbosity=0)
    if Event.objects.exists():
        raise SystemExit("This database has events in it: give one that is empty.")
    processes = Processes(folder, {})
    closing.callback(processes.end)
    env = Environment(folder, processes, database, broker, plan.seed, plan.short)
    if plan.mutation:
        env.patience = MUTATION_PATIENCE
    env.url = processes.add_web()
    env.restore()
    env.wait_until_ready()
    return env


def _rows(plan: Plan, env: Environment) -> list[Row]:
    """Make the faults and print each line as it comes."""
    from chaos import report, schedule
    from chaos.faults import chosen

    faults = list(chosen(plan.faults, env))
    _say(report.head())
    rows = [_said(row) for row in schedule.play(env, faults)]
    mixable = [fault for fault in faults if fault.mixed]
    sent = sum(row.result.events for row in rows)
    events = SHORT_MIX if plan.short else max(plan.events - sent, LEAST_MIX)
    if mixable and plan.events:
        rows.append(_said(schedule.play_mixed(env, mixable, events)))
    return rows


def _said(row: Row) -> Row:
    from chaos import report

    _say(report.line(row))
    for remark in (*row.notes, *row.result.remarks):
        _say(f"    {remark}")
    return row


def _report(plan: Plan, rows: list[Row], seconds: float) -> bool:
    """Write the files that were asked for, and say how it went."""
    from chaos import observations, report

    stray = observations.stray_events()
    events = sum(row.result.events for row in rows)
    passed = all(row.passed for row in rows) and not stray
    database, broker = _without_password(plan.database), _without_password(plan.broker)
    facts = [
        f"database {database}, broker {broker}, seed {plan.seed}",
        f"{events} events, {3 * events} deliveries, {len(rows)} rows, {seconds:.0f} s",
        f"events of transactions that were rolled back: {stray}",
        report.machine(),
        report.servers(),
    ]
    for fact in facts:
        _say(fact)
    if plan.markdown:
        report.write(plan.markdown, report.markdown(rows, facts))
    if plan.json:
        told = {"database": database, "broker": broker, "seed": plan.seed}
        told["servers"] = report.servers()
        report.write(plan.json, report.as_json(rows, **told, seconds=round(seconds)))
    _say("Every promise was kept." if passed else "A promise was broken.")
    return passed


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//", url)


def _list_faults() -> int:
    from chaos.faults import CATALOGUE

    for fault in CATALOGUE.values():
        _say(f"{fault.group:12} {fault.name:24} {fault.title}")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
