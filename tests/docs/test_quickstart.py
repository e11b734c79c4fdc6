"""The quickstart, from its own text: each file and command, in its order."""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shop.servers import free_port
from tests.docs.pages import Command, File, steps
from tests.docs.projects import ROOT

PAGE = (ROOT / "docs" / "quickstart.md").read_text()
#: Lines whose work is done: the interpreter of the tests has what they install.
PREPARED = ("mkdir ", "python3 -m venv ", "pip install ")
#: Lines that go on in a terminal of their own.
SERVERS = ("signal_tasks dev", "runserver")


class Reader:
    """Somebody who follows the page in a shell, with ports that are free here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.redis, self.web = free_port(), free_port()
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        library = folder / "library"
        library.mkdir()
        (library / "signal_tasks").symlink_to(ROOT / "signal_tasks")
        self.project = folder / "quickstart"
        self.project.mkdir()
        inherited = {k: v for k, v in os.environ.items() if "DJANGO" not in k}
        self.environment = inherited | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(library),
            "PYTHONUNBUFFERED": "1",
        }

    def do(self, step: File | Command) -> str:
        """Write the file or type the command; return what it printed."""
        if isinstance(step, File):
            code = step.code.replace(":6379/", f":{self.redis}/")
            File(step.path, code, step.is_added).write(self.project)
            return ""
        line = step.line
        if line.startswith(PREPARED):
            return ""
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value
            return ""
        if line.endswith("runserver"):
            line = f"{line} --noreload {self.web}"
        return self.start(line) if step.line.endswith(SERVERS) else self.run(line)

    def start(self, line: str) -> str:
        with self.log.open("ab") as log:
            self.servers[line.partition(" --")[0]] = subprocess.Popen(
                f"exec {line}",
                shell=True,
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        return ""

    def run(self, line: str) -> str:
        done = subprocess.run(
            line,
            shell=True,
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr, self.said)
        return done.stdout

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def said(self) -> str:
        """Return what the servers have printed."""
        return self.log.read_text() if self.log.exists() else ""

    def press_ctrl_c(self, line: str) -> None:
        process = self.servers.pop(line)
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    for line in list(reader.servers):
        reader.press_ctrl_c(line)


def wait_for(true: Callable[[], Any], reader: Reader, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, reader.said
        time.sleep(0.2)


def test_the_extra_that_the_page_installs_is_one_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name, extra) = re.findall(r'pip install "([\w-]+)\[(\w+)\]"', PAGE)[0]
    assert name == project["name"]
    assert extra in project["optional-dependencies"]


def test_a_reader_who_does_as_the_page_says_gets_what_it_says(reader: Reader) -> None:
    printed = {}
    for step in steps(PAGE):
        if isinstance(step, Command):
            if "signal_tasks doctor" in step.line:
                wait_for(lambda: "serves the queues" in reader.said, reader)
            if "Product.objects.get" in step.line:
                wait_for(lambda: reader.said.count("succeeded in") >= 3, reader)
            if "order_teapots(3)" in step.line:
                assert "orders.receivers.send_confirmation" in dashboard(reader)
                reader.press_ctrl_c("python manage.py signal_tasks dev")
            printed[step.line] = reader.do(step)
        else:
            reader.do(step)
    (examined,) = (text for line, text in printed.items() if "doctor" in line)
    assert {line[:8].strip() for line in examined.splitlines()} == {"ok"}
    (stock,) = (text for line, text in printed.items() if "get().stock" in line)
    assert stock.split()[-1] == "8"
    assert "2 x Teapot will be on the way soon." in reader.said
    reader.do(Command("python manage.py signal_tasks dev"))
    wait_for(lambda: "3 x Teapot" in reader.said, reader)


def dashboard(reader: Reader) -> str:
    """Log in as the page says; return the pages of the events and of the first one."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    site = f"http://127.0.0.1:{reader.web}"

    def read(path: str, **form: str) -> str:
        data = urllib.parse.urlencode(form).encode() if form else None
        return str(browser.open(site + path, data).read().decode())

    def answers() -> bool:
        try:
            return "csrf" in read("/signals/")
        except OSError:
            return False

    wait_for(answers, reader)
    (password,) = re.findall(r"PASSWORD=(\w+)", PAGE)
    token = {each.name: each.value or "" for each in jar}["csrftoken"]
    form = {"username": "me", "password": password, "csrfmiddlewaretoken": token}
    read("/admin/login/?next=/signals/", **form)
    events = read("/signals/events/")
    first = re.findall(r'href="(/signals/events/[\w-]{36}/)"', events)[0]
    return events + read(first)
