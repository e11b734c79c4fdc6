"""The public API: complete, and enough for a project of its own."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import signal_tasks
from signal_tasks import AsyncSignal, RetryPolicy, async_receiver
from signal_tasks.exceptions import SignalTasksError

ROOT = Path(__file__).resolve().parents[2]
Python = Callable[..., str]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run a script in a process of its own, in an empty folder."""

    def run(script: str, *arguments: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(script))
        done = subprocess.run(
            [sys.executable, "-W", "error", str(path), *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_everything_that_is_promised_is_there() -> None:
    for name in signal_tasks.__all__:
        assert hasattr(signal_tasks, name)
    assert signal_tasks.__all__ == sorted(signal_tasks.__all__)


def test_every_error_is_one_of_ours() -> None:
    found = [getattr(signal_tasks, name) for name in signal_tasks.__all__]
    errors = [e for e in found if isinstance(e, type) and issubclass(e, Exception)]
    assert len(errors) == 11
    assert all(issubclass(error, SignalTasksError) for error in errors)
    assert issubclass(signal_tasks.PayloadError, TypeError)


SIGNATURES: dict[str, tuple[Callable[..., Any], str]] = {
    "AsyncSignal": (
        AsyncSignal,
        "use_caching=False, *, name=None, aliases=(), key=None, sensitive=()",
    ),
    "connect": (
        AsyncSignal.connect,
        "self, receiver, sender=None, weak=True, dispatch_uid=None, *, inline=False, "
        "name=None, aliases=(), queue=None, atomic=True, retry=None, timeout=None, "
        "rate_limit=None, on_missing='reject', when=None, group_commit=True, "
        "max_concurrency=None, breaker=None, ordered=False, on_dead='block', "
        "coalesce=None, batch=None",
    ),
    "using": (
        AsyncSignal.using,
        "self, *, delay=None, at=None, database=None, headers=None, subject=None, "
        "key=None, dedupe_key=None, dedupe_for=datetime.timedelta(days=1), on_duplicate='skip'",
    ),
    "send": (AsyncSignal.send, "self, sender, **named"),
    "send_many": (AsyncSignal.send_many, "self, sender, items"),
    "RetryPolicy": (
        RetryPolicy,
        "max_attempts=10, backoff=2.0, factor=2.0, max_delay=3600.0, jitter=True, "
        "retry_on=(<class 'Exception'>,), give_up_on=(), give_up_after=None",
    ),
    "async_receiver": (
        async_receiver,
        "signal, sender=None, *, exclude=(), snapshot=False, raw=False, "
        "**connect_options",
    ),
}


@pytest.mark.parametrize("what", SIGNATURES)
def test_a_signature_is_the_one_that_was_promised(what: str) -> None:
    function, promised = SIGNATURES[what]
    plain = [
        parameter.replace(annotation=parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
    ]
    assert str(inspect.Signature(plain)) == f"({promised})"


# -- processes of their own -------------------------------------------------------


def test_it_is_imported_before_django_is_set_up(python: Python) -> None:
    python(
        """
        import signal_tasks
        from signal_tasks import AsyncSignal, RetryPolicy, async_receiver

        confirmed = AsyncSignal(name="confirmed")
        RetryPolicy(max_attempts=3)
        from django.conf import settings
        assert not settings.configured
        """
    )


MINIMAL = """
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="x",
        DATABASES={alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{alias}.db"}
                   for alias in ("default", "second")},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                        "signal_tasks"],
    )
    django.setup()
    from django.core.management import call_command
    call_command("migrate", verbosity=0)
    call_command("migrate", database="second", verbosity=0)
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    call_command("check")
"""


def test_a_project_needs_no_more_than_the_app(python: Python) -> None:
    printed = python(
        MINIMAL
        + """
    from django.contrib.auth.models import User
    from django.db.models.signals import post_save
    from signal_tasks import AsyncSignal, async_receiver
    from signal_tasks.broker.publisher import publisher
    from signal_tasks.testing import run_pending

    publisher.submit = lambda request: None  # there is no broker here
    confirmed = AsyncSignal(name="shop.confirmed")
    calls = []

    def hear(sender, **kwargs):
        calls.append((sender, kwargs["number"]))

    def greet(sender, instance, **kwargs):
        calls.append(instance.username)

    confirmed.connect(hear, name="shop.hear")
    async_receiver(post_save, User, name="shop.greet")(greet)
    confirmed.send(sender="here", number=1)
    confirmed.using(database="second").send(sender="there", number=2)
    User.objects.create(username="ada")
    assert {str(handle.state) for handle in run_pending()} == {"succeeded"}
    print(sorted(map(str, calls)))
    """
    )
    assert printed.endswith("""["('here', 1)", "('there', 2)", 'ada']\n""")


def test_its_test_cases_may_allow_one_database_only(python: Python) -> None:
    python(
        MINIMAL
        + """
    from django.test import TestCase
    from django.test.runner import DiscoverRunner
    import unittest
    from signal_tasks import AsyncSignal
    from signal_tasks.testing import assert_sent, run_pending

    confirmed = AsyncSignal(name="shop.confirmed")
    calls = []

    def hear(sender, **kwargs):
        calls.append(sender)

    confirmed.connect(hear, name="shop.hear")

    class ConfirmTests(TestCase):
        def test_it(self):
            confirmed.send(sender="tested", number=1)
            self.assertEqual(len(run_pending()), 1)
            assert_sent(confirmed, number=1)

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(ConfirmTests)
    runner = DiscoverRunner(verbosity=0)
    runner.setup_test_environment()
    old = runner.setup_databases()
    result = runner.run_suite(suite)
    runner.teardown_databases(old)
    assert result.wasSuccessful() and result.testsRun == 1
    assert calls == ["tested"]
    """
    )


def test_it_is_typed() -> None:
    assert (ROOT / "signal_tasks" / "py.typed").exists()
