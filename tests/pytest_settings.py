"""A pytest plugin that chooses the Django settings by the tests that are asked for.

pytest-django sets Django up once, before it imports any test. The tests of the library
have settings without the shop, so one run of pytest is either theirs or the shop's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = {"signal_tasks", "integration"}  # folders beside this module
MODULES = {True: "tests.signal_tasks.settings", False: "tests.settings"}
APART = (
    "The library's tests and the shop's have different settings. Run them apart: "
    "pytest tests/signal_tasks tests/integration, then the others; or make test."
)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Name the settings for pytest-django, unless the caller has named others."""
    options = parser.parse_known_args(args)
    if options.ds or options.help or options.version:
        return
    kinds = set(_kinds(early_config, options.file_or_dir))
    if len(kinds) > 1:
        raise pytest.UsageError(APART)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", MODULES[kinds.pop()])


def _kinds(config: pytest.Config, arguments: list[str]) -> Iterator[bool]:
    """Tell for each path whether its tests are the library's; both, for a parent."""
    here = Path(__file__).resolve().parent
    start = config.invocation_params.dir
    for argument in arguments or _default(config):
        path = (start / argument.partition("::")[0]).resolve()
        if here.is_relative_to(path):
            yield from (True, False)
        else:
            yield path.is_relative_to(here) and path.parts[len(here.parts)] in LIBRARY


def _default(config: pytest.Config) -> list[str]:
    """Return what pytest collects when it is given no path."""
    if config.invocation_params.dir == config.rootpath:
        return list(config.getini("testpaths"))
    return ["."]
