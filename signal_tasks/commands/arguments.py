"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import uuid
from argparse import ArgumentParser

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from signal_tasks.commands.verb import Given
from signal_tasks.operations import Selection
from signal_tasks.registry.naming import check_name
from signal_tasks.states import Reason


def as_json(parser: ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def selection(parser: ArgumentParser) -> None:
    """Add what selects deliveries."""
    parser.add_argument("id", nargs="*", type=uuid.UUID, help="ids of deliveries")
    parser.add_argument("--receiver", type=name, help="name of a receiver")
    parser.add_argument("--signal", type=name, help="name of a signal")
    parser.add_argument("--reason", choices=Reason.values, help="why they are dead")
    parser.add_argument("--all", action="store_true", help="without any restriction")
    parser.add_argument("--dry-run", action="store_true", help="only count them")


def name(text: str) -> str:
    """Return the name, or refuse what no row can hold, such as an empty variable."""
    try:
        check_name(text)
    except ImproperlyConfigured as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def selected(given: Given) -> Selection:
    """Return the selection that was given; refuse none."""
    chosen = Selection(
        ids=given["id"] or None,
        receiver=given["receiver"],
        signal=given["signal"],
        reason=given["reason"],
    )
    if chosen.is_empty and not given["all"]:
        raise CommandError(
            "Which deliveries? Give ids, --receiver, --signal or --reason, or --all."
        )
    return chosen
