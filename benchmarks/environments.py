"""A virtual environment for each rival, in a folder that git ignores."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.roster import ROOT, Contender

FOLDER = ROOT / "var" / "benchmarks" / "environments"


class UnavailableError(Exception):
    """A rival that cannot be installed here."""


def python_for(contender: Contender) -> Path:
    """Return the interpreter that has the contender installed."""
    if not contender.rival:
        return Path(sys.executable)
    requirements = Path(__file__).with_name("contenders") / contender.name
    wanted = (requirements / "requirements.txt").read_text()
    folder = FOLDER / contender.name
    stamp = folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        _install(folder, requirements / "requirements.txt", contender.interpreter)
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def versions(contender: Contender) -> dict[str, str]:
    """Return the versions of the packages that the contender uses."""
    python = python_for(contender)
    listed = _run(python, "-m", "pip", "list", "--format=freeze").splitlines()
    found = dict(line.partition("==")[::2] for line in listed if "==" in line)
    return {"Python": _run(python, "-V").split()[1], **found}


def _install(folder: Path, requirements: Path, interpreter: str) -> None:
    program = _interpreter(interpreter)
    shutil.rmtree(folder, ignore_errors=True)
    _run(program, "-m", "venv", folder)
    _run(folder / "bin" / "python", "-m", "pip", "install", "-r", requirements)


def _interpreter(name: str) -> Path:
    """Return this interpreter, or the newer one that a rival needs."""
    if not name:
        return Path(sys.executable)
    pyenv = Path.home() / ".pyenv" / "versions"  # its shims may not work
    version = name.removeprefix("python")
    found = next(pyenv.glob(f"{version}.*/bin/python"), None) or shutil.which(name)
    if found is None:
        raise UnavailableError(f"needs {name}, which is not installed")
    return Path(found)


def _run(*command: str | Path) -> str:
    done = subprocess.run(  # noqa: S603 -- the command is ours
        command, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise UnavailableError(done.stderr.strip()[-500:])
    return done.stdout
