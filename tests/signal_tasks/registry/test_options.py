"""The options of a receiver: checked when it is connected."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from signal_tasks import AsyncSignal
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db


def module_receiver(sender: object, **kwargs: Any) -> None: ...


WRONG: dict[str, Any] = {
    "on_missing": "explode",
    "timeout": 0,
    "retry": 3,
    "queue": "",
    "rate_limit": "often",
    "atomic": "yes",
    "group_commit": None,
    "when": "always",
    "max_concurrency": 0,
    "breaker": 5,
    "ordered": "by id",
    "on_dead": "ignore",
    "coalesce": 5.0,
    "batch": 101,
}


@pytest.mark.parametrize("option", WRONG)
def test_an_option_that_makes_no_sense_is_refused(
    option: str, signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match=option):
        signal.connect(module_receiver, **{option: WRONG[option]})
    assert not signal.has_listeners()


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "30", True])
def test_a_timeout_is_a_positive_number(timeout: Any, signal: AsyncSignal) -> None:
    with pytest.raises(ImproperlyConfigured, match="positive number of seconds"):
        signal.connect(module_receiver, timeout=timeout)


@pytest.mark.parametrize("rate", [10, "10", "10/s", "0.5/m", "2/h"])
def test_a_rate_limit_is_what_celery_takes(rate: Any, signal: AsyncSignal) -> None:
    assert listen(signal, rate_limit=rate) == []


@pytest.mark.parametrize("rate", [0, "often", 10**400, "9" * 400])
def test_a_rate_limit_is_a_number_above_zero(rate: Any, signal: AsyncSignal) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"rate_limit is .* positive number"):
        listen(signal, rate_limit=rate)


def test_an_unknown_option_is_a_type_error(signal: AsyncSignal) -> None:
    with pytest.raises(TypeError, match="prioritty"):
        signal.connect(module_receiver, prioritty=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["priority"])
def test_an_option_of_the_future_is_not_accepted_in_silence(
    option: str, signal: AsyncSignal
) -> None:
    unknown: dict[str, Any] = {option: 1}
    with pytest.raises(TypeError):
        signal.connect(module_receiver, **unknown)
    with pytest.raises(TypeError):
        signal.using(**unknown)


@pytest.mark.parametrize(
    "option", [{"queue": "email"}, {"atomic": False}, {"name": "n"}, {"timeout": 3}]
)
def test_an_inline_receiver_with_an_option_of_durable_ones_is_refused(
    option: dict[str, Any], signal: AsyncSignal
) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{next(iter(option))} would mean"):
        signal.connect(module_receiver, inline=True, **option)


def test_an_inline_receiver_may_be_given_every_default(signal: AsyncSignal) -> None:
    signal.connect(
        module_receiver,
        inline=True,
        name=None,
        aliases=(),
        queue=None,
        atomic=True,
        retry=None,
        timeout=None,
        rate_limit=None,
        on_missing="reject",
        when=None,
        group_commit=True,
    )
    assert signal.has_listeners()
