"""Classes of packages that a project may use or not.

To write a value no package is imported: a project that has such a value has imported
it. To read one, a package may be imported, but only one that is named in the code.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NamedTuple

from signal_tasks.codec.classes import class_of


class External(NamedTuple):
    """An attribute of a module that may not be installed, or not be imported yet."""

    module: str
    name: str

    def imported(self) -> Any:
        """Return it if the project has imported its module, else None."""
        return getattr(sys.modules.get(self.module), self.name, None)

    def load(self) -> Any:
        """Import its module and return it."""
        return getattr(import_module(self.module), self.name)


def is_a(kind: type, base: External) -> bool:
    """Return whether a class is derived from one of a package."""
    found = base.imported()
    return found is not None and issubclass(kind, found)


def derived_class(name: str, *bases: External) -> Any:
    """Return the class of that name; raise TypeError if it has none of the bases."""
    found = class_of(name)
    if not any(is_a(found, base) for base in bases):
        raise TypeError(f"{name} is not derived from {bases[0].name}")
    return found
