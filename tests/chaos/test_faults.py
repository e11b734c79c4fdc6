"""The short form of the fault suite: real processes, really killed.

``make chaos`` is the long form, with more faults and a workload of 2,000 events.
"""

from __future__ import annotations

from typing import Any

import pytest

from chaos.crash_points import CrashPoint

Run = dict[str, dict[str, Any]]

#: The first test to ask for it waits for the whole run.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("point", CrashPoint)
def test_a_crash_at_any_point_loses_and_duplicates_nothing(
    point: CrashPoint, run: Run
) -> None:
    _expect(run, f"crash-{point.name.lower().replace('_', '-')}")


def test_no_fault_loses_an_event_or_duplicates_an_atomic_effect(run: Run) -> None:
    assert {name for name, row in run.items() if row["check"]["lost"]} == set()
    assert {name for name, row in run.items() if row["check"]["duplicated"]} == set()


def test_what_a_non_atomic_receiver_repeats_has_a_recorded_cause(run: Run) -> None:
    unexplained = {name for name, row in run.items() if row["check"]["unexplained"]}
    assert unexplained == set()


def test_a_transaction_that_was_rolled_back_sent_nothing(run: Run) -> None:
    assert {name for name, row in run.items() if row["check"]["uncommitted"]} == set()


def test_nothing_is_repeated_without_a_fault(run: Run) -> None:
    _expect(run, "no-fault")
    assert run["no-fault"]["check"]["repeated"] == 0


@pytest.mark.parametrize("fault", ["pool-killed", "worker-killed"])
def test_a_worker_that_is_killed_loses_nothing(fault: str, run: Run) -> None:
    _expect(run, fault)


def test_a_worker_paused_past_its_lease_duplicates_nothing(run: Run) -> None:
    _expect(run, "worker-paused")


@pytest.mark.parametrize("fault", ["worker-stopped", "group-stopped"])
def test_a_stopped_worker_spends_no_attempt(fault: str, run: Run) -> None:
    _expect(run, fault)


@pytest.mark.parametrize("fault", ["broker-killed", "redis-emptied"])
def test_a_broker_that_fails_costs_neither_events_nor_attempts(
    fault: str, run: Run
) -> None:
    _expect(run, fault)


@pytest.mark.parametrize(
    "fault",
    ["database-killed", "claim-forgotten", "connections-terminated", "failover"],
)
def test_a_database_that_fails_loses_nothing(fault: str, run: Run) -> None:
    _expect(run, fault)


def test_receivers_that_deadlock_both_succeed(run: Run) -> None:
    _expect(run, "deadlock")


def test_a_full_disk_loses_nothing(run: Run) -> None:
    _expect(run, "disk-full-for-deliveries")


def test_a_receiver_that_ends_its_process_harms_only_itself(run: Run) -> None:
    _expect(run, "receiver-exits")


@pytest.mark.parametrize("fault", ["copies", "forgeries"])
def test_copied_and_forged_messages_run_only_pending_deliveries(
    fault: str, run: Run
) -> None:
    _expect(run, fault)


def test_a_payload_that_an_older_version_wrote_is_run(run: Run) -> None:
    _expect(run, "old-payload")


def test_faults_at_random_lose_and_duplicate_nothing(run: Run) -> None:
    _expect(run, "mixed")
    assert len(run["mixed"]["injected"]) > 1


def _expect(run: Run, fault: str) -> None:
    if fault not in run:
        pytest.skip("this fault does not apply to this database")
    row = run[fault]
    assert row["check"]["violations"] == []
    assert row["passed"], row["check"]
    assert row["check"]["events"] > 0
