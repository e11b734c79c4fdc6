"""Django's own tests of its signals, run against ours.

``run()`` fetches the source distribution of a Django release from the package index
and runs its ``dispatch`` and ``signals`` tests, in a process in which every signal is
an ``AsyncSignal`` that connects inline. By hand, for another release of Django:

    python -m tests.django_suite --django 6.1.3 --python python3.13
"""

from __future__ import annotations

import argparse
import atexit
import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "var" / "django-sdist"
TIMEOUT = 600  # seconds
LABELS = ("dispatch", "signals")
VERSION = "import django; print(django.__version__)"


class Unavailable(Exception):
    """An interpreter, or the package index, is not to be had here."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run of Django's tests ended."""

    django: str
    status: int
    tests: int
    calls: int
    output: str

    @property
    def passed(self) -> bool:
        """Whether tests ran, passed, and went through our class."""
        return self.status == 0 and self.tests > 0 and self.calls > 0

    def __str__(self) -> str:
        return (
            f"Django {self.django}: {self.tests} tests, {self.calls} calls of "
            f"AsyncSignal, exit status {self.status}"
        )


# -- The process that fetches and watches -----------------------------------------


def run(python: str = sys.executable) -> Result:
    """Run the tests of the Django that this interpreter has."""
    version = _output(python, "-c", VERSION).strip()
    tests = _fetched(version, python)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DJANGO_")}
    done = subprocess.run(
        [python, "-m", "tests.django_suite", "--inside", str(tests)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    output = done.stdout + done.stderr
    ran, calls = _number(r"^Ran (\d+) tests", output), _number(r"^Calls: (\d+)", output)
    return Result(version, done.returncode, ran, calls, output)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise Unavailable(f"{command[0]}: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().rpartition("\n")[2]
        raise Unavailable(f"{' '.join(command)}: {last}") from error
    return done.stdout


def interpreter(name: str) -> str:
    """The interpreter of that name on the path, or the one that pyenv keeps of it."""
    try:
        return _output(name, "-c", "import sys; print(sys.executable)").strip()
    except Unavailable:
        home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        wanted = name.removeprefix("python")
        found = sorted(home.glob(f"versions/{wanted}.*/bin/python"))
        if not found:
            raise
        return str(found[-1])


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    return int(found[1]) if found else 0


def _fetched(version: str, python: str) -> Path:
    """The folder with the tests of this release, downloaded once."""
    kept = CACHE / version
    if not kept.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            archive = _downloaded(version, folder, python)
            _unpacked(archive, folder).rename(kept)
    return kept / "tests"


def _downloaded(version: str, folder: str, python: str) -> Path:
    """The archive; of all that pip may fetch, only Django itself is to be source."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "download"]
    options = ["--no-deps", "--no-binary", "django", "--dest", folder]
    _output(*pip, *options, f"Django=={version}")
    return next(Path(folder).glob("*.tar.gz"))


def _unpacked(archive: Path, folder: str) -> Path:
    with tarfile.open(archive) as packed:
        tests = [member for member in packed if "/tests/" in member.name]
        packed.extractall(folder, tests, filter="data")
    return next(path for path in Path(folder).iterdir() if path.is_dir())


def scratch(python: str, django: str) -> str:
    """An interpreter with that Django and what we need, in a folder made once."""
    python = interpreter(python)
    series = _output(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    home = ROOT / "var" / "django-suite" / f"python{series.strip()}-django{django}"
    inside = home / "bin" / "python"
    if not inside.exists():
        _output(python, "-m", "venv", str(home))
        try:
            _output(str(inside), "-m", "pip", "install", f"Django=={django}", "celery")
        except Unavailable:
            shutil.rmtree(home)
            raise
    return str(inside)


# -- The process that the tests run in --------------------------------------------


def _inside(tests: str) -> int:
    """Become Django's ``runtests.py``, with every signal one of ours.

    It exits by itself when tests fail, and returns when they pass.
    """
    calls = _take_the_place_of_signal()
    atexit.register(lambda: sys.stdout.write(f"\nCalls: {sum(calls.values())}\n"))
    os.chdir(tests)
    sys.path.insert(0, tests)
    sys.argv = ["runtests.py", *LABELS, "--settings=test_sqlite", "--parallel=1"]
    runpy.run_path("runtests.py", run_name="__main__")
    return 0


def _take_the_place_of_signal() -> dict[str, int]:
    """Let Django find our class where its own was, and count what it calls.

    Our class stands on the dispatcher, and brings along much of Django, whose signals
    are Django's. All but the dispatcher is forgotten, and imported again by the tests.
    """
    ours, calls = _inline_signal()
    kept = {name: sys.modules[f"django.{name}"] for name in _DISPATCH}
    for name in [name for name in sys.modules if name.partition(".")[0] == "django"]:
        del sys.modules[name]
    django: Any = importlib.import_module("django")
    for name, module in kept.items():
        sys.modules[f"django.{name}"] = module
        module.Signal = ours  # type: ignore[attr-defined]
    django.dispatch = kept["dispatch"]
    _check_model_signals(ours)
    return calls


_DISPATCH = ("dispatch", "dispatch.dispatcher")


def _inline_signal() -> tuple[type, dict[str, int]]:
    from signal_tasks.dispatch.signal import AsyncSignal

    calls: dict[str, int] = {}

    def counted(name: str, **defaults: object) -> Any:
        method = getattr(AsyncSignal, name)

        def call(self: AsyncSignal, *args: Any, **kwargs: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return method(self, *args, **defaults | kwargs)

        return call

    names = ("disconnect", "has_listeners", "send", "send_robust", "asend")
    methods = {name: counted(name) for name in (*names, "asend_robust")}
    methods["connect"] = counted("connect", inline=True)
    return type("InlineSignal", (AsyncSignal,), methods), calls


def _check_model_signals(ours: type) -> None:
    signals: Any = importlib.import_module("django.db.models.signals")
    if not issubclass(signals.ModelSignal, ours):
        raise TypeError("the signals of models are not ours: replaced too late")


def main() -> int:
    """Run by hand: for the Django at hand, or for another one in a scratch venv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--django", help="the release to run the tests of")
    parser.add_argument("--python", default=sys.executable, help="an interpreter")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return _inside(options.inside)
    python = options.python
    try:
        result = run(scratch(python, options.django) if options.django else python)
    except Unavailable as missing:
        sys.stderr.write(f"{missing}\n")
        return 2
    sys.stdout.write(result.output if not result.passed else "")
    sys.stdout.write(f"{result}\n")
    return 0 if result.passed else result.status or 1


if __name__ == "__main__":
    sys.exit(main())
