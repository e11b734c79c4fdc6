"""Interpreters of this machine, and virtual environments that are made with them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.matrix.combinations import PYTHONS, Combination


class NotRun(Exception):
    """The environment cannot be made here; the text says what is missing."""


@functools.cache
def interpreters() -> dict[str, Path]:
    """Return the interpreters that work, by their minor version.

    They are those on PATH, and those that pyenv has: its shims do not run all of them.
    """
    found: dict[str, Path] = {}
    for python in PYTHONS:
        for path in _candidates(python):
            if _works(path, python):
                found[python] = path
                break
    return found


def _candidates(python: str) -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{python}.*/bin/python{python}"))
    on_path = shutil.which(f"python{python}")
    if on_path:
        yield Path(on_path)
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield Path(sys.executable)


def _works(path: Path, python: str) -> bool:
    code = "import sqlite3, ssl, sys; print('%d.%d' % sys.version_info[:2])"
    asked = subprocess.run([path, "-c", code], capture_output=True, text=True)
    return asked.returncode == 0 and asked.stdout.strip() == python


def uv() -> str:
    """Return the program that makes and fills the environments."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise SystemExit("uv is missing: make matrix installs it.")
    return program


def make(combination: Combination, wheel: Path, folder: Path) -> Path:
    """Make an environment with the wheel alone; return its interpreter."""
    base = interpreters().get(combination.python)
    if base is None:
        raise NotRun(f"no Python {combination.python} on the machine")
    _run(uv(), "venv", "--quiet", "--python", str(base), str(folder))
    python = folder / "bin" / "python"
    install = (uv(), "pip", "install", "--quiet", "--python", str(python))
    try:
        _run(*install, str(wheel), *combination.requirements)
    except subprocess.CalledProcessError as error:
        # It comes as source, and needs a compiler and the headers of its library.
        if "mysqlclient" in combination.requirements and "build" in error.stderr:
            raise NotRun("mysqlclient does not compile on the machine") from error
        raise
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
