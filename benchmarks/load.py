"""The CPU that other processes used during a measure."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

#: A run in which others had more than this share of the machine is disturbed.
TOLERATED = 0.08
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """The CPU that was used for some time: ours, and the share of other processes."""

    seconds: float
    own_cpu: float
    foreign_share: float

    @property
    def disturbed(self) -> bool:
        """Return True if others were busy enough to have changed the result."""
        return self.foreign_share > TOLERATED


class Meter:
    """Measures the load from its creation until ``stop``."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy = _machine_cpu()
        self._own = _own_cpu()

    def stop(self) -> Load:
        """Return the load since the start."""
        seconds = time.monotonic() - self._started
        own = _own_cpu() - self._own
        foreign = max(0.0, _machine_cpu() - self._busy - own)
        return Load(seconds, own, foreign / (seconds * (os.cpu_count() or 1)))

    @classmethod
    def start(cls) -> Self:
        """Start to measure now."""
        return cls()


def wait_for_quiet(seconds: float) -> None:
    """Wait until no others use the machine, at most for so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        meter = Meter.start()
        time.sleep(1.0)
        if not meter.stop().disturbed:
            return


def _machine_cpu() -> float:
    """Return the seconds of CPU that anybody has used, stolen ones included."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / TICKS


def _own_cpu() -> float:
    """Return the seconds of CPU of this process and all that it has started."""
    return sum(cpu_of(process) for process in family(os.getpid()))


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_of(process: psutil.Process) -> float:
    """Return the seconds of CPU of a process and of its children that have exited."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    exited = times.children_user + times.children_system
    return float(times.user + times.system + exited)


def pss(pid: int) -> float:
    """Return the proportional set size of a process and its descendants, in MB."""
    return sum(_pss(process.pid) for process in family(pid)) / 1024


def _pss(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in rollup.splitlines())
    return sum(int(line[1]) for line in lines if line[0] == "Pss:")
