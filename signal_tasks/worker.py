"""What a Celery worker gets when ``signal_tasks`` is installed.

Connected to Celery's own signals by ``apps``, so that ``celery -A <app> worker``
needs no option: a relay in a thread of the main process, database connections
that are kept between messages, the queues of all receivers, a consumer that is
hard to kill, and a stop that hands deliveries back.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from contextlib import suppress
from typing import Any

from celery import bootsteps
from celery import signals as celery_signals
from celery.concurrency import solo
from django.db import (
    DatabaseError,
    InterfaceError,
    close_old_connections,
    connections,
)

from signal_tasks import attempts
from signal_tasks.broker import ReceiverTask, load_transport
from signal_tasks.conf import settings
from signal_tasks.consumer import STOCK_CONSUMERS, SurvivingConsumer
from signal_tasks.groups import process
from signal_tasks.holdings import Holdings
from signal_tasks.models import Delivery
from signal_tasks.publisher import publisher
from signal_tasks.registry import registry
from signal_tasks.relay import Relay

#: Longest wait for a pass of the relay before a fork or at the end (seconds).
PASS_SECONDS = 5.0
#: Least time between two looks at the health of kept connections (seconds).
CHECK_SECONDS = 1.0


def prepare() -> None:
    """Listen for the start of a Celery worker in this process."""
    uid = "signal_tasks.worker"
    celery_signals.worker_init.connect(_worker_init, weak=False, dispatch_uid=uid)
    celery_signals.worker_process_init.connect(
        _worker_process_init, weak=False, dispatch_uid=uid
    )
    celery_signals.worker_shutting_down.connect(
        _worker_shutting_down, weak=False, dispatch_uid=uid
    )


def _worker_init(sender: Any, **_: object) -> None:
    process.name = sender.hostname
    process.main_pid = os.getpid()
    process.stopping = False
    _consume_all_queues(sender.app)
    _keep_connections(sender.app)
    load_transport()
    if sender.consumer_cls in STOCK_CONSUMERS:
        sender.consumer_cls = SurvivingConsumer
    if sender.pool_cls in ("solo", solo.TaskPool):
        sender.pool_cls = StoppableSolo
    if settings().RELAY_IN_WORKER:
        process.holdings = Holdings()
        sender.app.steps["worker"].add(RelayStep)
    _share_memory()


def _share_memory() -> None:
    """Keep the garbage collector away from what is here before the pool is forked.

    It would write to every page of it, which then is shared no more: twelve megabytes
    for each process. Celery has it run before each fork.
    """
    gc.collect()
    gc.freeze()


def _worker_shutting_down(**_: object) -> None:
    process.stopping = True


# -- queues -----------------------------------------------------------------------


def _consume_all_queues(app: Any) -> None:
    """Serve the queues that receivers name, unless ``-Q`` says which to serve."""
    queues = app.amqp.queues
    if getattr(queues, "_consume_from", None) is not None:
        return
    named = {settings().QUEUE, *(r.options.queue for r in registry.receivers())}
    for queue in sorted(filter(None, named)):
        queues.select_add(queue)


# -- database connections ---------------------------------------------------------


def _keep_connections(app: Any) -> None:
    """Keep connections between messages, as CONN_MAX_AGE says.

    Celery's Django fixup closes every connection before and after every task. For
    the tasks of receivers Django's own rule is used instead, as between requests;
    for all other tasks the fixup does what it did. Its place in the app is not
    public: where it is not found, connections are closed as by stock Celery.
    """
    for fixup in getattr(app, "_fixups", ()):
        worker_fixup = getattr(fixup, "worker_fixup", None)
        stock_prerun = getattr(worker_fixup, "on_task_prerun", None)
        stock_postrun = getattr(worker_fixup, "on_task_postrun", None)
        if stock_prerun is not None and stock_postrun is not None:
            _replace(celery_signals.task_prerun, stock_prerun)
            _replace(celery_signals.task_postrun, stock_postrun)


def _replace(task_signal: Any, stock: Any) -> None:
    def around_task(sender: Any, **kwargs: Any) -> None:
        if not isinstance(sender, ReceiverTask):
            stock(sender=sender, **kwargs)
        elif not getattr(sender.request, "is_eager", False):
            _close_old_connections()

    if task_signal.disconnect(stock) is not False:
        task_signal.connect(around_task, weak=False)


def _close_old_connections() -> None:
    """As between requests, but asking the server no more than once a second.

    A take whose connection broke in between is made again over a new one.
    """
    now = time.monotonic()
    if now - getattr(_looked_at, "time", 0.0) >= CHECK_SECONDS:
        _looked_at.time = now
        close_old_connections()


_looked_at = threading.local()


# -- stop -------------------------------------------------------------------------


#: What asks a child of the prefork pool to end; Celery ignores one of them when
#: ``REMAP_SIGTERM`` is set.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGQUIT)
#: Longest wait for the publication of what a child hands back (seconds).
FLUSH_SECONDS = 0.5

_stock_handlers: dict[int, Any] = {}


def _worker_process_init(**_: object) -> None:
    """In a child of the prefork pool: be told of every message, before and after.

    The solo pool says the same of the main process, whose signals are Celery's.
    """
    if os.getpid() == process.main_pid:
        return
    uid = "signal_tasks.stop"
    celery_signals.task_prerun.connect(_listen, weak=False, dispatch_uid=uid)
    celery_signals.task_postrun.connect(_end_if_stopped, weak=False, dispatch_uid=uid)


def _listen(**_: object) -> None:
    """Before the first message: put our handlers in front of those of the pool.

    Not earlier, because the pool installs its own after the child is initialised.
    """
    if _stock_handlers:
        return
    for number in (*STOP_SIGNALS, signal.SIGUSR1):
        stock = signal.getsignal(number)
        if callable(stock):
            _stock_handlers[number] = stock
            ours = _overrun if number == signal.SIGUSR1 else _stop
            signal.signal(number, ours)


def _stop(number: int, frame: Any) -> None:
    """Interrupt the receiver, if one runs; what has begun is handed back or ended."""
    process.stopping = True
    if attempts.in_receiver():
        raise attempts.HandBack
    if not process.busy:
        _stock_handlers[number](number, frame)


def _overrun(number: int, frame: Any) -> None:
    """Celery's soft time limit: it is for the receiver, not for its bookkeeping.

    Where it strikes that, no other receiver is started: it would have no limit.
    """
    process.overdue = True
    if attempts.in_receiver() or not process.busy:
        _stock_handlers[number](number, frame)


def _end_if_stopped(**_: object) -> None:
    """After the message that was being worked off: end as the pool would have."""
    if process.stopping:
        publisher.flush(FLUSH_SECONDS)
        number, stock = next(iter(_stock_handlers.items()))
        stock(number, None)


class StoppableSolo(solo.TaskPool):  # type: ignore[misc]
    """The solo pool, whose one task is stopped by handing back what it runs.

    Stock Celery raises ``NotImplementedError`` in the middle of the receiver.
    """

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Celery's cold shutdown, called by a signal handler."""
        if attempts.in_receiver():
            raise attempts.HandBack


# -- relay ------------------------------------------------------------------------


class RelayStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """A relay in a thread of the worker's main process.

    No pass is under way while the pool forks: a child must not inherit a lock or a
    connection in the middle of something.
    """

    label = "signal_tasks relay"
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:
        """Start the thread."""
        relay = Relay(parent.hostname)
        self._thread = threading.Thread(
            target=_run_relay,
            args=(relay, self._stop),
            name="signal_tasks-relay",
            daemon=True,
        )
        self._thread.start()

    def stop(self, parent: Any) -> None:
        """End the loop and wait for the pass that is under way, within bounds."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(PASS_SECONDS)

    terminate = stop


_passing = threading.Lock()


def _run_relay(relay: Relay, stop: threading.Event) -> None:
    while not stop.is_set():
        with _passing:
            _let_go_for_the_dead()
            relay.run_once()
            _close_files()
        stop.wait(settings().RELAY_INTERVAL)
    relay.leave()


def _let_go_for_the_dead() -> None:
    """End the leases of pool processes that have died, for the relay to recover.

    Those of a worker that died as a whole end when they are over.
    """
    for holding in process.holdings.of_the_dead() if process.holdings else ():
        held = [Delivery(pk=pk, lease=lease) for pk, lease in holding.leases.items()]
        with suppress(DatabaseError, InterfaceError):
            Delivery.objects.using(holding.database).held(held).extend(0)


def _close_files() -> None:
    """Hold no database file open when the pool forks.

    A child that inherited SQLite's view of the file would take the locks of this
    process for its own.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite":
            connection.close()


_held_for_fork = threading.local()


def _before_fork() -> None:
    _held_for_fork.yes = _passing.acquire(timeout=PASS_SECONDS)


def _after_fork() -> None:
    if getattr(_held_for_fork, "yes", False):
        _passing.release()


def _after_fork_in_child() -> None:
    global _passing
    _passing = threading.Lock()  # no relay runs here, whatever it was doing there


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork,
    after_in_child=_after_fork_in_child,
)
