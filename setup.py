"""The package's page shows README alone, so its links are made absolute.

In the repository they are relative: there they lead somewhere in every copy of it, at every
commit. All else is in ``pyproject.toml``.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
#: A picture or a link, up to its target.
TARGET = re.compile(r"(?P<before>(?P<picture>!)?\[[^\]]*\]\()(?P<path>[^):#]+)")


def absolute(found: re.Match[str]) -> str:
    """Return the link with the address of the file in the repository."""
    kind = "raw" if found["picture"] else "blob"
    repository = PROJECT["urls"]["Repository"]
    return f"{found['before']}{repository}/{kind}/main/{found['path']}"


setup(
    long_description=TARGET.sub(absolute, (HERE / "README.md").read_text()),
    long_description_content_type="text/markdown",
)
