"""All faults of the suite; importing this package fills the catalogue, in order."""

from __future__ import annotations

from importlib import import_module

from chaos.faults.catalogue import CATALOGUE, Fault, selected

__all__ = ["CATALOGUE", "Fault", "selected"]

for _group in (
    "processes",
    "pools",
    "crashes",
    "brokers",
    "databases",
    "contention",
    "messages",
    "order",
    "receivers",
    "deploys",
    "waits",
    "costs",
):
    import_module(f"{__name__}.{_group}")
