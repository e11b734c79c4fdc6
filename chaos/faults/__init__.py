"""Every fault that the suite makes; importing this fills the catalogue."""

from __future__ import annotations

from chaos.faults import (
    brokers,
    crashes,
    databases,
    deploys,
    messages,
    processes,
    receivers,
)
from chaos.faults.catalogue import CATALOGUE, Fault, chosen

__all__ = [
    "CATALOGUE",
    "Fault",
    "brokers",
    "chosen",
    "crashes",
    "databases",
    "deploys",
    "messages",
    "processes",
    "receivers",
]
