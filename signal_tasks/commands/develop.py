"""The verb that starts what a developer needs beside ``runserver``."""

from __future__ import annotations

from django.conf import settings
from django.core.management.base import CommandError

from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.worker import development


@verb(
    "dev", "start Redis and a worker with a relay, for development; Ctrl-C stops both"
)
def dev(out: Output, given: Given) -> None:
    """Run Redis and a worker until the worker is stopped."""
    if not settings.DEBUG:
        raise CommandError("This is for development: DEBUG is off.")
    try:
        with development.redis(development.redis_port()) as told:
            out.say(told)
            development.run_worker()
    except development.NotPossible as error:
        raise CommandError(str(error)) from error


VERBS = (dev,)
