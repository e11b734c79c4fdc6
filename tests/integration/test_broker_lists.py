"""A broker may be a list of servers: the next one is used when one is not there.

No test has a worker: what is looked at is which server has the messages.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import current_app

from signal_tasks.broker.connection import BrokerConnection, reach
from signal_tasks.broker.messages import PublishRequest
from signal_tasks.broker.publisher import publisher
from signal_tasks.doctor.findings import Verdict, within
from signal_tasks.doctor.setup import broker
from signal_tasks.exceptions import BrokerUnavailable
from signal_tasks.relay.relay import Relay
from tests.integration.conftest import use_broker
from tests.integration.steps import messages
from tests.servers import RedisServer
from tests.signal_tasks.relay.steps import pass_time
from tests.testapp.signals import noted

RECEIVER = "tests.testapp.receivers.note"
REFUSES = "redis://:secret@127.0.0.1:1/0"


@pytest.fixture
def hangs() -> Iterator[str]:
    """Give the URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture(params=["refuses", "hangs"])
def absent(request: pytest.FixtureRequest, hangs: str) -> str:
    return REFUSES if request.param == "refuses" else hangs


@pytest.fixture(params=["text", "list"])
def second(
    request: pytest.FixtureRequest, redis: RedisServer, absent: str
) -> RedisServer:
    """Make a list the broker whose second server is Redis."""
    urls = [absent, redis.url]
    use_broker(";".join(urls) if request.param == "text" else urls)
    return redis


def asked_for(*ids: str, receiver: str = RECEIVER) -> PublishRequest:
    return PublishRequest(receiver=receiver, database="default", ids=ids)


def test_the_publisher_goes_on_to_the_next_server(second: RedisServer) -> None:
    publisher.submit(asked_for("one"))
    assert publisher.flush(10)
    assert messages(second) == ["one"]


@pytest.mark.django_db
def test_the_relay_goes_on_to_the_next_server(second: RedisServer) -> None:
    ((_, handle),) = noted.send(sender=None, key="k")
    pass_time()
    relay = Relay("relay@test")
    assert relay.run_once()["default"].published == 1
    relay.close()
    assert messages(second) == [str(handle.id)]


def test_the_server_that_is_left_is_found_in_the_middle(
    redis: RedisServer, hangs: str
) -> None:
    use_broker([hangs, REFUSES, redis.url, REFUSES])
    connection = BrokerConnection()
    for key in ("one", "two"):
        assert connection.publish([asked_for(key)]).error is None
    connection.close()
    assert messages(redis) == ["one", "two"]


def test_a_list_of_which_no_server_answers_is_left_alone_soon(
    redis: RedisServer, hangs: str
) -> None:
    use_broker([hangs, REFUSES, hangs])
    connection = BrokerConnection()
    started = time.monotonic()
    assert isinstance(connection.publish([asked_for("one")]).error, BrokerUnavailable)
    assert time.monotonic() - started < 6  # two rounds of two servers that hang
    assert connection.is_resting


def cannot_be_routed(name: str, *_: Any, **__: Any) -> None:
    if name != RECEIVER:
        raise OSError("no such route")


@pytest.fixture
def _routes_fail() -> Iterator[None]:
    current_app.conf.task_routes = [cannot_be_routed]
    forget_routes()
    yield
    current_app.conf.changes.pop("task_routes", None)
    forget_routes()


def forget_routes() -> None:
    vars(current_app._get_current_object()).pop("amqp", None)


@pytest.mark.usefixtures("_routes_fail")
def test_the_time_that_a_list_takes_is_no_sign_that_the_broker_fails(
    redis: RedisServer, hangs: str
) -> None:
    use_broker([hangs, redis.url])
    bad = [f"tests.testapp.receivers.{name}" for name in ("fail", "send_on", "index")]
    connection = BrokerConnection()
    requests = [asked_for("bad", receiver=name) for name in bad]
    done = connection.publish([*requests, asked_for("good")])
    connection.close()
    assert (done.error, sorted(done.refused)) == (None, sorted(bad))
    assert messages(redis) == ["good"]


@pytest.fixture
def _sentinel_options() -> Iterator[None]:
    given = current_app.conf.broker_transport_options
    options = {"master_name": "main", "sentinel_kwargs": {"client_name": "us"}}
    current_app.conf.broker_transport_options = options
    yield
    current_app.conf.broker_transport_options = given


@pytest.mark.usefixtures("_sentinel_options", "redis")
def test_sentinels_that_hang_are_each_asked_once_and_left(hangs: str) -> None:
    sentinel = hangs.replace("redis:", "sentinel:")
    use_broker([sentinel] * 3)
    started = time.monotonic()
    error = within(20, partial(reach, 0.3))
    assert type(error).__name__ == "OperationalError"
    assert time.monotonic() - started < 0.3 * 3 * 2


@pytest.mark.usefixtures("second")
def test_a_list_is_reached_if_one_of_its_servers_is() -> None:
    assert reach(0.5) is None


def test_the_doctor_waits_for_all_servers_and_shows_no_password(
    redis: RedisServer, hangs: str
) -> None:
    use_broker(";".join([hangs, REFUSES, hangs, hangs, redis.url]))
    found = broker(0.6)
    assert found.verdict is Verdict.OK, found.text
    assert "redis://:**@127.0.0.1:1/0" in found.text
    assert "secret" not in found.text
