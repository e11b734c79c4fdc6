"""Set hooks around functions of the engine, from outside.

Targets hold function objects, not strings, so that mypy reports a function that was
moved or renamed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A function, and the class or module that callers look it up on.

    If module ``a`` does ``from b import f``, its calls are hooked on ``a``, not on
    ``b``: that is ``Target(a, f)``.
    """

    owner: type | ModuleType
    function: Function

    def __post_init__(self) -> None:
        found = getattr(self.owner, self.name, None)
        if inspect.unwrap(found) is not inspect.unwrap(self.function):  # type: ignore[arg-type]
            raise LookupError(f"{self.owner.__name__} does not use {self.name}().")

    @property
    def name(self) -> str:
        """Return the name of the function, which is that of the owner's attribute."""
        return self.function.__name__

    @property
    def current(self) -> Function:
        """Return the function that is called now, with all its hooks."""
        function: Function = getattr(self.owner, self.name)
        return function

    def replace(self, replacement: Function) -> None:
        """Have the owner call this function instead."""
        setattr(self.owner, self.name, replacement)

    def call_before(self, hook: Callable[..., None]) -> None:
        """Call the hook before each call, with its positional arguments."""
        function = self.current

        @functools.wraps(function)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            hook(*args)
            return function(*args, **kwargs)

        self.replace(hooked)

    def call_after(self, hook: Callable[[Any], None]) -> None:
        """Call the hook after each call, with its result."""
        function = self.current

        @functools.wraps(function)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            hook(result)
            return result

        self.replace(hooked)
