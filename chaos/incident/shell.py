"""The operator's shell: runs ``manage.py signal_tasks`` and keeps its command lines."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command

from chaos.environment import PromiseBroken
from chaos.processes import ROOT

#: No command may take longer than this (seconds).
TIMEOUT = 180


@dataclass
class Shell:
    """Runs verbs of the command.

    Attributes:
        starts_processes: run each verb in a process of its own, as a shell does; else
            in this one, which is quicker.
        lines: the command lines that were run.
    """

    starts_processes: bool = True
    lines: list[str] = field(default_factory=list)

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run a verb and return what it printed; ``expect``: its exit status."""
        line = f"manage.py signal_tasks {shlex.join(arguments)}"
        self.lines.append(line)
        run = _in_a_process if self.starts_processes else _here
        status, out, err = run(arguments)
        if status != expect:
            said = f"{out}\n{err}".strip()
            raise PromiseBroken(f"{line}: exit status {status}\n{said}")
        return out

    def json(self, *arguments: str, expect: int = 0) -> Any:
        """Run a verb with ``--json`` and return what it printed."""
        return json.loads(self.run(*arguments, "--json", expect=expect))


def _in_a_process(arguments: tuple[str, ...]) -> tuple[int, str, str]:
    ran = subprocess.run(  # noqa: S603 - the command is ours
        (sys.executable, "manage.py", "signal_tasks", *arguments),
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return ran.returncode, ran.stdout, ran.stderr


def _here(arguments: tuple[str, ...]) -> tuple[int, str, str]:
    out, err, status = StringIO(), StringIO(), 0
    try:
        call_command("signal_tasks", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        status = error.returncode
        err.write(str(error))
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue()
