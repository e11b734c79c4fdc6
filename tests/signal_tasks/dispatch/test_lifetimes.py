"""Weak references, and modules that are loaded again."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from signal_tasks import AsyncSignal
from signal_tasks.registry.registry import registry
from tests.signal_tasks.conftest import listen

pytestmark = pytest.mark.django_db

module_signal = AsyncSignal()


class Listener:
    def method(self, sender: object, **kwargs: Any) -> None: ...

    @classmethod
    def of_class(cls, sender: object, **kwargs: Any) -> None: ...

    @staticmethod
    def of_nothing(sender: object, **kwargs: Any) -> None: ...

    def __call__(self, sender: object, **kwargs: Any) -> None: ...


def test_a_receiver_that_nobody_holds_is_forgotten(signal: AsyncSignal) -> None:
    def local(sender: object, **kwargs: Any) -> None: ...

    signal.connect(local, name="t.local_function")
    assert signal.has_listeners()
    del local
    assert not signal.has_listeners()
    assert signal.send(sender=None) == []
    assert registry.receiver("t.local_function") is None


def test_it_is_kept_when_connected_strongly(signal: AsyncSignal) -> None:
    listen(signal, name="t.kept")  # connects with weak=False
    gc.collect()
    assert len(signal.send(sender=None)) == 1


def test_a_method_is_forgotten_with_its_object(signal: AsyncSignal) -> None:
    listener = Listener()
    signal.connect(listener.method, name="t.method")
    assert len(signal.send(sender=None)) == 1
    del listener
    assert signal.send(sender=None) == []


@pytest.fixture
def reloadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    source = (
        "from django.dispatch import receiver\n"
        "from tests.signal_tasks.dispatch.test_lifetimes import module_signal\n"
        "@receiver(module_signal, **OPTIONS)\n"
        "def reloaded(sender, **kwargs): ...\n"
    )
    path = tmp_path / "reloadable_receivers.py"
    monkeypatch.syspath_prepend(tmp_path)

    def load(options: str) -> Any:
        path.write_text(source.replace("OPTIONS", options))
        importlib.invalidate_caches()
        known = sys.modules.get("reloadable_receivers")
        if known is None:
            return importlib.import_module("reloadable_receivers")
        return importlib.reload(known)

    yield load
    sys.modules.pop("reloadable_receivers", None)
    for connection in module_signal.durable_connections:
        module_signal.disconnect(connection.receiver.function())
        module_signal.disconnect(dispatch_uid="t.uid")


@pytest.mark.parametrize("options", ["{}", "{'dispatch_uid': 't.uid'}"])
def test_a_reloaded_module_replaces_its_receiver(reloadable: Any, options: str) -> None:
    reloadable(options)
    module = reloadable(options)
    (connection,) = module_signal.durable_connections
    assert connection.receiver.function() is module.reloaded


def test_a_reloaded_module_may_bring_other_options(reloadable: Any) -> None:
    reloadable("{}")
    reloadable("{'atomic':  False}")
    (connection,) = module_signal.durable_connections
    assert connection.receiver.options.atomic is False
    module_signal.disconnect(connection.receiver.function())
    assert registry.receiver(connection.receiver.name) is None
