"""The ways to tell somebody: Django's mail, and callables of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from django.conf import settings as django_settings
from django.core.mail import EmailMessage, mail_admins
from django.utils import timezone
from django.utils.module_loading import import_string

from signal_tasks.alert import ADMINS, Alert, AlertOptions
from signal_tasks.alerting.state import Due
from signal_tasks.db.aliases import outbox_aliases

#: The name of the channel of all mail.
EMAIL = "email"
#: Does its work while it is iterated: yields each message once it is sent.
Send = Callable[[Sequence[Due]], Iterator[Due]]


@dataclass(frozen=True, slots=True)
class Channel:
    """A way to tell somebody, with a name that its rows have."""

    name: str
    send: Send


def channels(options: AlertOptions) -> list[Channel]:
    """Return the channels; all code that sends is imported now, by the caller's thread.

    A fork must not meet another thread in the middle of an import.
    """
    found = [Channel(path, partial(_call, _imported(path))) for path in options.CALL]
    if options.EMAIL:
        import_module("django.core.mail.backends.smtp")
        found.append(Channel(EMAIL, partial(_mail, options.EMAIL)))
    return found


def _imported(path: str) -> Callable[[Alert], object]:
    """Return the callable, or one that raises what has kept it from being imported."""
    try:
        return import_string(path)  # type: ignore[no-any-return]
    # A module of the project may raise anything. The other channels are told.
    except Exception as error:  # noqa: BLE001
        return partial(_raise, error)


def _raise(error: Exception, _: Alert) -> None:
    raise error


def _call(to: Callable[[Alert], object], messages: Sequence[Due]) -> Iterator[Due]:
    failure: Exception | None = None
    for message in messages:
        try:
            to(message.alert)
        # One that fails for whatever reason keeps nobody from being told the others.
        except Exception as error:  # noqa: BLE001
            failure = error
        else:
            yield message
    if failure is not None:
        raise failure


def _mail(to: Sequence[str], messages: Sequence[Due]) -> Iterator[Due]:
    """Send one mail with all of them."""
    alerts = [message.alert for message in messages]
    subject, body = _subject(alerts), "\n\n\n".join(map(_paragraph, alerts))
    if to == ADMINS:
        mail_admins(subject, body)
    else:
        prefix = django_settings.EMAIL_SUBJECT_PREFIX
        sender = django_settings.SERVER_EMAIL
        EmailMessage(f"{prefix}{subject}", body, sender, list(to)).send()
    yield from messages


def _subject(alerts: Sequence[Alert]) -> str:
    bad_news_first = sorted(alerts, key=lambda alert: alert.is_over)
    more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    title = " ".join(bad_news_first[0].title.split())  # a key may have line ends
    return f"signal_tasks: {title[:150]}{more}"


def _paragraph(alert: Alert) -> str:
    return "\n".join(filter(None, _lines(alert)))


def _lines(alert: Alert) -> Iterable[str]:
    yield alert.title[:1].upper() + alert.title[1:]
    since = timezone.localtime(alert.since)
    yield f"{'From' if alert.is_over else 'Since'} {since:%Y-%m-%d %H:%M:%S %Z}"
    if len(outbox_aliases()) > 1:
        yield f"In the outbox {alert.database!r}"
    yield f"It was: {alert.text}" if alert.is_over else alert.text
    yield alert.url
