"""Faults of the database, as the servers themselves tell them."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from signal_tasks.db.errors import Fault, fault_of


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")
def test_a_server_that_nobody_can_connect_to_is_a_fault_of_the_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        address = {"HOST": "127.0.0.1", "PORT": str(closed.getsockname()[1])}
        gone: Any = type(connections["default"])(
            connection.settings_dict | address, "gone"
        )
        with pytest.raises(OperationalError) as raised:
            gone.ensure_connection()
    assert fault_of(raised.value) is Fault.CONNECTION
