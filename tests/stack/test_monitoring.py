"""What is shipped to watch it with: alert rules, the dashboard, the table of metrics."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from signal_tasks.telemetry.metrics import Collector

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
NAME = re.compile(r"\bsignal_tasks_\w+")
#: There only while something is held.
SOMETIMES = {"signal_tasks_held_deliveries"}

no_promtool = shutil.which("promtool") is None and "CI" not in os.environ
needs_promtool = pytest.mark.skipif(no_promtool, reason="needs promtool (prometheus)")


def documented() -> dict[str, str]:
    """Return the metrics of the reference with their types."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(signal_tasks_\w+)` \| (\w+) \|", page, re.MULTILINE)
    return dict(rows)


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alert_rules_are_rules() -> None:
    promtool("check", "rules", "rules.yml")
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_each_alert_fires_when_it_should_and_else_is_silent() -> None:
    promtool("test", "rules", "rules_test.yml")


def alerts() -> list[dict[str, Any]]:
    rules = YAML(typ="safe").load(PROMETHEUS / "rules.yml")
    return [rule for group in rules["groups"] for rule in group["rules"]]


def test_each_alert_says_what_to_do_and_is_tested() -> None:
    tests = (PROMETHEUS / "rules_test.yml").read_text()
    for alert in alerts():
        assert alert["annotations"]["action"]
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["alert"] in tests


@pytest.mark.django_db
def test_the_reference_has_each_metric_and_its_type() -> None:
    registry = CollectorRegistry()
    registry.register(Collector())
    text = generate_latest(registry).decode()
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text)
    }
    told = documented()
    assert {name: told[name] for name in told if name not in SOMETIMES} == families


@pytest.mark.parametrize(
    "path",
    [PROMETHEUS / "rules.yml", DASHBOARDS / "signal_tasks.json"],
    ids=lambda path: path.name,
)
def test_rules_and_dashboard_ask_for_metrics_that_exist(path: Path) -> None:
    suffixes = re.compile(r"_(bucket|count|sum)$")
    asked = {suffixes.sub("", name) for name in NAME.findall(path.read_text())}
    assert asked <= set(documented())


@pytest.fixture
def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DASHBOARDS / "signal_tasks.json").read_text())
    return found


def test_the_dashboard_needs_nothing_but_a_data_source(
    dashboard: dict[str, Any],
) -> None:
    assert "__inputs" not in dashboard
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    for panel in dashboard["panels"]:
        for part in (panel, *panel["targets"]):
            assert part["datasource"]["uid"] == "${datasource}"


def test_no_panel_covers_another(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@needs_promtool
def test_each_query_of_the_dashboard_is_one(
    dashboard: dict[str, Any], tmp_path: Path
) -> None:
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    rules = [
        {"record": f"q:{n}", "expr": query.replace("$__rate_interval", "1m")}
        for n, query in enumerate(queries)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_compose_provisions_what_is_shipped() -> None:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    mounted = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert mounted
    assert all((ROOT / path).is_dir() for path in mounted)
    provider = YAML(typ="safe").load(
        DEPLOY / "grafana/provisioning/dashboards/signal_tasks.yml"
    )
    assert (
        f"./deploy/grafana/dashboards:{provider['providers'][0]['options']['path']}:ro"
        in compose["services"]["grafana"]["volumes"]
    )
    scraped = YAML(typ="safe").load(PROMETHEUS / "prometheus.yml")
    (target,) = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":")[0] in compose["services"]
