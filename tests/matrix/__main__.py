"""Try the wheel in other environments: ``make matrix``.

Each combination gets an empty virtual environment with the wheel and what it requires,
and runs ``project/run.py`` there. With ``--write`` the results go into the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.matrix import page
from tests.matrix.combinations import DRIVERS, Combination, combinations, corners
from tests.matrix.environments import NotRun, interpreters, make
from tests.matrix.page import Result
from tests.matrix.servers import Servers

PROJECT = Path(__file__).with_name("project")
PATIENCE = 300  # seconds for one combination


def main() -> int:
    """Run what is asked for; return 1 if anything of it has failed."""
    options = _arguments()
    chosen = corners(interpreters()) if options.corners else tuple(combinations())
    chosen = tuple(each for each in chosen if options.only in str(each))
    with tempfile.TemporaryDirectory(prefix="matrix-") as name:
        folder = Path(name)
        with Servers(folder, {each.driver for each in chosen}) as servers:
            run = Run(options.wheel or _build(folder / "dist"), servers, folder)
            with ThreadPoolExecutor(options.jobs) as pool:
                results = list(pool.map(run.try_out, range(len(chosen)), chosen))
    if options.write:
        page.write(results)
    return int(any(result.error for result in results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.matrix", description=__doc__)
    parser.add_argument("--corners", action="store_true", help="the oldest, the newest")
    parser.add_argument("--only", default="", help="combinations whose name has this")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--wheel", type=Path, help="a wheel that is built already")
    parser.add_argument("--write", action="store_true", help="write the page of docs/")
    options = parser.parse_args()
    if options.write and (options.only or options.corners):
        parser.error("The page tells of all combinations, or of none.")
    return options


def _build(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), "."]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Run:
    """The part that all combinations have in common."""

    wheel: Path
    servers: Servers
    folder: Path

    def try_out(self, number: int, combination: Combination) -> Result:
        """Run one combination, print how it has ended, and return that."""
        work = self.folder / f"work-{number}"
        started = time.monotonic()
        try:
            result = Result(combination, self._versions(number, combination, work))
        except NotRun as reason:
            result = Result(combination, missing=str(reason))
        except subprocess.SubprocessError as error:
            result = Result(combination, error=_story(error, work / "worker.log"))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        seconds = time.monotonic() - started
        print(f"{result.word:8}{seconds:5.1f} s  {combination}", flush=True)
        if result.error:
            print(result.error, file=sys.stderr, flush=True)
        return result

    def _versions(
        self, number: int, combination: Combination, work: Path
    ) -> dict[str, str]:
        """Run the project in a new environment; return the versions that it had."""
        shutil.copytree(PROJECT, work)
        python = make(combination, self.wheel, work / "venv")
        packages = [each.partition("[")[0] for each in DRIVERS[combination.driver]]
        database = self.servers.database(combination.driver, number, work)
        environment = _foreign() | {
            "SMOKE_BROKER": self.servers.broker(number),
            "SMOKE_DATABASE": json.dumps(database),
            "SMOKE_DRIVER": combination.driver,
            "SMOKE_PACKAGES": json.dumps(packages),
        }
        done = subprocess.run(
            [python, "run.py"],
            cwd=work,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        versions: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return versions


def _foreign() -> dict[str, str]:
    """Return the environment without what leads back to this interpreter."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    kept.pop("DJANGO_SETTINGS_MODULE", None)
    return kept


def _story(error: subprocess.SubprocessError, log: Path) -> str:
    """Return all that was printed, by the project and by its worker."""
    printed = getattr(error, "stdout", ""), getattr(error, "stderr", "")
    worker = log.read_text() if log.exists() else ""
    return "\n".join(str(part) for part in (error, *printed, worker))


if __name__ == "__main__":
    sys.exit(main())
