"""The measured app: loads the side of the contender that is being measured."""

from __future__ import annotations

import importlib
import os

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Orders, stock, and the receivers of one contender."""

    name = "benchmarks.project"
    label = "bench"

    def ready(self) -> None:
        """Import the contender's receivers, as a project's own apps would."""
        name = os.environ["BENCH_CONTENDER"]
        importlib.import_module(f"benchmarks.contenders.{name}.side")
