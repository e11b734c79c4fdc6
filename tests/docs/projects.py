"""Projects of readers, made of what the documents show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = sorted((ROOT / "docs" / "tutorial" / "steps").iterdir())


@dataclass(frozen=True)
class Project:
    """A copy of a step, beside the library and without the rest of the repository."""

    folder: Path
    environment: dict[str, str]

    def start(self, *command: str, output: int | None = None) -> subprocess.Popen[str]:
        """Start a Python program of the project, with its output in its log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env=self.environment,
                stdout=output or log,
                stderr=log,
                text=True,
            )

    def run(self, *command: str) -> str:
        """Run one to its end; what it printed."""
        process = self.start(*command, output=subprocess.PIPE)
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed + self.log.read_text()
        return printed

    @property
    def log(self) -> Path:
        """What its programs have said."""
        return self.folder / "log.txt"


def copy(step: Path, folder: Path, **environment: str) -> Project:
    """Copy a step, as a reader who starts from there."""
    library, project = folder / "library", folder / "project"
    library.mkdir()
    (library / "signal_tasks").symlink_to(ROOT / "signal_tasks")
    shutil.copytree(step, project)
    inherited = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    return Project(project, inherited | {"PYTHONPATH": str(library)} | environment)
