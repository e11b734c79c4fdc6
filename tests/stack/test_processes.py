"""The process manager: it keeps programs running, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from shop.processes import Program, Supervisor

FAMILY = """
import pathlib, subprocess, sys, time, signal
{ignore}
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({note!r}).write_text(str(child.pid))
{end}
"""


class Lines(list[tuple[str, str]]):
    """Collects what programs say."""

    def __call__(self, name: str, line: str) -> None:
        self.append((name, line))


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.02)


def python(code: str, grace: float = 20.0) -> Program:
    command = (sys.executable, "-uc", code)
    return Program(name="program", command=command, grace=grace)


def family(note: Path, *, ignore: bool = False, grace: float = 20.0) -> Program:
    """A program with a child, which stops when asked unless told to ignore it."""
    ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if ignore else ""
    code = FAMILY.format(ignore=ignoring, note=str(note), end="time.sleep(600)")
    return python(code, grace)


def lives(pid: int) -> bool:
    return (
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    )


def child_in(note: Path) -> int:
    eventually(lambda: note.exists() and note.read_text())
    return int(note.read_text())


def test_lines_come_with_the_name_of_their_program():
    lines = Lines()
    supervisor = Supervisor([python("print('hello'); input()")], lines)
    supervisor.start(stage=1)
    eventually(lambda: ("program", "hello") in lines)
    supervisor.stop()


def test_what_dies_is_started_again(tmp_path):
    program = family(tmp_path / "child")
    supervisor = Supervisor([program], Lines())
    supervisor.start(stage=1)
    first = child_in(tmp_path / "child")
    program.kill()
    (tmp_path / "child").unlink()
    supervisor.run(until=lambda: program.starts == 2)
    assert child_in(tmp_path / "child") != first
    supervisor.stop()


def test_what_dies_young_is_started_later_each_time():
    program = python("")
    supervisor = Supervisor([program], Lines())
    supervisor.start(stage=1)
    supervisor.run(until=lambda: program.starts == 2)
    supervisor.run(until=lambda: program.process is None)
    assert program.pause == 2.0
    supervisor.stop()


def test_a_killed_program_takes_its_children_along(tmp_path):
    program = family(tmp_path / "child")
    program.start(Lines())
    child = child_in(tmp_path / "child")
    program.kill()
    eventually(lambda: not lives(child))


def test_a_stop_asks_the_main_process_alone(tmp_path):
    note = tmp_path / "child"
    end = (
        "signal.signal(signal.SIGTERM, lambda *_: None); signal.pause();"
        "time.sleep(0.3); print('child', child.poll())"
    )
    lines = Lines()
    program = python(FAMILY.format(ignore="", note=str(note), end=end))
    supervisor = Supervisor([program], lines)
    supervisor.start(stage=1)
    child = child_in(note)
    time.sleep(0.3)
    supervisor.stop()
    eventually(lambda: ("program", "child None") in lines)
    eventually(lambda: not lives(child))


def test_who_ignores_the_request_is_killed_with_its_children(tmp_path):
    program = family(tmp_path / "child", ignore=True, grace=0.5)
    supervisor = Supervisor([program], Lines())
    supervisor.start(stage=1)
    child = child_in(tmp_path / "child")
    began = time.monotonic()
    supervisor.stop()
    assert 0.4 < time.monotonic() - began < 5
    assert not program.alive
    eventually(lambda: not lives(child))


def test_a_second_request_does_not_wait(tmp_path):
    program = family(tmp_path / "child", ignore=True, grace=60)
    supervisor = Supervisor([program], Lines())
    supervisor.start(stage=1)
    child_in(tmp_path / "child")
    began = time.monotonic()
    supervisor.stop(hurry=lambda: True)
    assert time.monotonic() - began < 5


def test_servers_stop_after_their_clients():
    code = (
        "import signal, time;"
        "signal.signal(signal.SIGTERM, lambda *_: time.sleep({slow}) or exit('bye'));"
        "print('ready'); time.sleep(600)"
    )
    programs = [
        Program(name=name, command=(sys.executable, "-uc", text), stage=stage)
        for name, text, stage in (
            ("client", code.format(slow=0.5), 1),
            ("server", code.format(slow=0), 0),
        )
    ]
    lines = Lines()
    supervisor = Supervisor(programs, lines)
    supervisor.start(stage=0)
    supervisor.start(stage=1)
    eventually(lambda: len(lines) == 2)
    supervisor.stop()
    eventually(lambda: len(lines) == 4)
    assert lines[2:] == [("client", "bye"), ("server", "bye")]


@pytest.mark.skipif(sys.platform != "linux", reason="PDEATHSIG is Linux's")
def test_a_manager_that_is_killed_leaves_nothing_behind(tmp_path):
    note = tmp_path / "pid"
    code = (
        "import pathlib, sys, time\n"
        "from shop.processes import spawn\n"
        "child = spawn([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).resolve().parents[2]
    manager = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    child = child_in(note)
    os.kill(manager.pid, signal.SIGKILL)
    manager.wait()
    eventually(lambda: not lives(child))
