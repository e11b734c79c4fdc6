"""Run receivers in greenlets: the gevent pool, and event loops beside it.

Imported only where the worker has that pool.

# Note [Event loops beside greenlets]
All greenlets of a thread see an event loop that one of them runs: Django refuses them
the database, and no second loop can be started. So asgiref, which runs coroutines for
Django, for us and for receivers that call ``async_to_sync``, gets other building
blocks here: each event loop has a native thread, while what the coroutine calls by
``sync_to_async`` still runs in the greenlet that waits for it, with its connections
and its transaction. Native threads wake a greenlet by the callback that gevent has for
it: of gevent's own locks, those that greenlets of two threads wait for lose a wake-up
now and then.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from importlib import import_module
from threading import Condition
from typing import Any

from asgiref import sync
from celery.concurrency.gevent import TaskPool

from signal_tasks.broker.publisher import publisher
from signal_tasks.delivery.tasks import owns_task
from signal_tasks.interrupt import ReleaseRequested, in_receiver

gevent: Any = import_module("gevent")
monkey: Any = import_module("gevent.monkey")
events: Any = import_module("gevent.event")
threadpool: Any = import_module("gevent.threadpool")

#: Event loops that may run at a time, and how long an idle thread is kept (seconds).
MAX_LOOPS, IDLE_SECONDS = 10_000, 5.0
#: How long a cold shutdown waits until what it has interrupted is released (seconds).
RELEASE_SECONDS, FLUSH_SECONDS = 5.0, 0.5
STOP_SIGNALS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
#: The building blocks of asgiref that are replaced.
REPLACED = ("Future", "ThreadPoolExecutor", "CurrentThreadExecutor")

_native_lock = monkey.get_original("_thread", "allocate_lock")


class GreenletPool(TaskPool):  # type: ignore[misc]
    """Celery's gevent pool, which interrupts receivers and never our bookkeeping."""

    #: Celery tells its pools apart by this: for beat, connections and the banner.
    __module__ = TaskPool.__module__

    def on_start(self) -> None:
        """Start the pool."""
        super().on_start()
        self._receivers: dict[int, Any] = {}
        _handle_signals_in_greenlets()

    def on_apply(
        self, target: Any, args: Any = None, *rest: Any, **options: Any
    ) -> Any:
        """Run a message; switch Celery's time limit off for the tasks of receivers.

        It could interrupt the greenlet while it records the outcome of a delivery.
        """
        if not (args and owns_task(args[0])):
            return super().on_apply(target, args, *rest, **options)
        greenlet = super().on_apply(target, args, *rest, **{**options, "timeout": 0})
        number = id(greenlet)
        self._receivers[number] = greenlet
        greenlet.link(lambda _: self._receivers.pop(number, None))
        return greenlet

    def terminate_job(self, pid: int, number: int | None = None) -> None:
        """Interrupt the receiver that runs in a greenlet; called by Celery."""
        greenlet = self._receivers.get(pid)
        if greenlet is None:
            super().terminate_job(pid, number)
        else:
            gevent.get_hub().loop.run_callback(_interrupt, greenlet)

    def on_terminate(self) -> None:
        """Interrupt all receivers, and wait until their deliveries are released."""
        running = list(self._receivers.values())
        for greenlet in running:
            self.terminate_job(id(greenlet))
        gevent.joinall(running, timeout=RELEASE_SECONDS)
        publisher.flush(FLUSH_SECONDS)


def _handle_signals_in_greenlets() -> None:
    """Have the worker stopped by a greenlet, which can wait.

    Celery's handlers wait, for a soft shutdown and for the broker, but Python calls
    them in gevent's hub, where nothing can. Celery has installed its own by now, and
    each may install others.
    """
    for number in STOP_SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, _InGreenlet):
            signal.signal(number, _InGreenlet(handler))


class _InGreenlet:
    """A signal handler that calls another one in a greenlet."""

    def __init__(self, handler: Callable[[int, Any], Any]) -> None:
        self._handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        gevent.spawn(self._handler, number, frame)
        gevent.spawn(_handle_signals_in_greenlets)  # as soon as that one waits


def _interrupt(greenlet: Any) -> None:
    """Interrupt a greenlet that waits in a receiver; called between two greenlets."""
    if in_receiver(id(greenlet)):
        greenlet.throw(ReleaseRequested)


def run_event_loops_in_threads() -> None:
    """Give asgiref what it needs beside greenlets; see the note above."""
    missing = [name for name in REPLACED if not hasattr(sync, name)]
    if missing:
        raise SystemExit(
            "signal_tasks: this release of asgiref is not known, so async receivers "
            "cannot run in the gevent pool. Start the worker with --pool prefork, "
            "threads or solo."
        )
    _Threads.pool = threadpool.ThreadPool(MAX_LOOPS, idle_task_timeout=IDLE_SECONDS)
    for name, ours in zip(REPLACED, (SharedFuture, NativeThreads, Waiter), strict=True):
        setattr(sync, name, ours)


class _Threads:
    """The native threads of this process that run event loops."""

    pool: Any = None


class SharedFuture(Future[Any]):
    """A future that native threads share, by a lock that no greenlet waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = Condition(_native_lock())


class NativeThreads(Executor):
    """Run each call in a native thread; asgiref makes an executor for each call."""

    def __init__(self, max_workers: int | None = None) -> None:
        pass

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Begin to run a function in a native thread."""
        hub = gevent.get_hub()
        pool = _Threads.pool if _Threads.pool.hub is hub else hub.threadpool
        future = SharedFuture()
        pool.spawn(_run, future, function, args, kwargs)
        return future


class Waiter(Executor):
    """Run the calls that a coroutine sends back to the greenlet that waits for it.

    Waiters can be nested; the innermost one runs the calls. Calls that arrive after it
    has finished go to the next outer one.
    """

    def __init__(self, outer: Waiter | None = None) -> None:
        self._outer = outer
        self._calls: deque[tuple[Any, ...]] = deque()
        self._finished = False
        self._lock = _native_lock()
        self._news = events.Event()
        self._loop = gevent.get_hub().loop

    def run_until_future(self, future: Future[Any]) -> None:
        """Run what comes until the future is done."""
        future.add_done_callback(lambda _: self._wake())
        while not self._finished:
            self._news.clear()
            while self._calls:
                _run(*self._calls.popleft())
            with self._lock:
                self._finished = future.done() and not self._calls
            if not self._finished:
                self._news.wait()

    def submit(
        self, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Have the greenlet run a function; called in the thread of the coroutine."""
        future = SharedFuture()
        with self._lock:
            if not self._finished:
                self._calls.append((future, function, args, kwargs))
                self._wake()
                return future
        if self._outer is None:
            raise RuntimeError("nothing waits for this coroutine any more")
        return self._outer.submit(function, *args, **kwargs)

    def _wake(self) -> None:
        self._loop.run_callback_threadsafe(self._news.set)


def _run(
    future: Future[Any], function: Callable[..., Any], args: Any, kwargs: Any
) -> None:
    """Run a function, and put what comes of it into the future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    # Told to whom waits for the future.
    except BaseException as error:  # noqa: BLE001
        future.set_exception(error)
    else:
        future.set_result(result)
