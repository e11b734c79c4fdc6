"""Run the incident: start the servers, set Django up for them, tell the story.

What needs Django's settings is imported when they are known.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import django
from django.core.management import call_command

from shop.embedded import PostgresServer, RedisServer
from shop.servers import Server
from shop.terminal import show

if TYPE_CHECKING:
    from chaos.incident.incident import Incident

#: Times of the short form (seconds).
SHORT_TIMES = {"RELAY_INTERVAL": 0.2, "WORKER_TTL": 3.0, "REPUBLISH_AFTER": 1.0}


def run(folder: Path, *, short: bool, markdown: Path | None) -> bool:
    """Run the incident; return whether every promise was kept."""
    with ExitStack() as closing:
        database = closing.enter_context(PostgresServer(fsync=True))
        broker = closing.enter_context(RedisServer(folder / "redis"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "chaos.incident.settings"
        os.environ["CHAOS_FOLDER"] = str(folder)
        os.environ["CHAOS_DATABASE"] = database.url
        os.environ["CHAOS_BROKER"] = broker.url
        os.environ["CHAOS_SIGNAL_TASKS"] = json.dumps(SHORT_TIMES if short else {})
        django.setup()
        call_command("migrate", verbosity=0)
        return _tell(folder, database, broker, short, markdown)


def _tell(
    folder: Path, database: Server, broker: Server, short: bool, markdown: Path | None
) -> bool:
    """Tell the story, check its end, write the table."""
    from chaos.environment import Environment
    from chaos.incident.incident import SHORT, Incident, Numbers
    from chaos.incident.shell import Shell
    from chaos.incident.steps import Steps
    from chaos.incident.steps import markdown as table
    from chaos.processes import Processes
    from chaos.report import write

    processes = Processes(folder)
    env = Environment(folder, processes, database, broker, seed="", short=short)
    steps = Steps(Shell(starts_processes=not short))
    incident = Incident(env, steps, SHORT if short else Numbers())
    started = time.monotonic()
    try:
        broken = _broken(incident)
    finally:
        processes.remove_all()
    show(f"  {time.monotonic() - started:>6.1f} s  in all", *broken)
    if markdown is not None:
        write(markdown, table(steps.done))
    return not broken


def _broken(incident: Incident) -> list[str]:
    """Return a sentence for each promise that was broken."""
    from chaos.environment import FaultNotInjected, PromiseBroken
    from chaos.incident import breaking, checks, mending

    try:
        breaking.break_everything(incident)
        mending.mend_everything(incident)
    except (PromiseBroken, FaultNotInjected) as error:
        return [str(error)]
    return list(checks.violations(incident))
