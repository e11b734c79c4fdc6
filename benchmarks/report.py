"""Turn results into text, and into the measured part of ``docs/performance.md``.

``python -m benchmarks.report`` renders the last run once more.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import environments, plot
from benchmarks.figures import GOALS, Results, Sample
from benchmarks.load import Load
from benchmarks.plan import Size
from benchmarks.roster import CONTENDERS, OURS, REFERENCE, RIVALS, ROOT
from benchmarks.stand import Stand

DOCS = ROOT / "docs"
LAST = ROOT / "var" / "benchmarks" / "last.json"
#: Parts of the documents that are written here: file and name of the part.
MEASURED = ("performance.md", "measured")
PROFILE = ("performance.md", "profile")
HOT = ("performance.md", "hot")
CURVE = ("scaling.md", "curve")
PACKAGES = ("Python", "Django", "celery", "kombu", "redis", "psycopg")
#: Packages in the requirements of several contenders.
SHARED = ("Django==", "psycopg", "celery", "redis")
Facts = dict[str, str]


def facts(stand: Stand, size: Size) -> Facts:
    """Return the machine, the versions and the sizes of the run."""
    with stand.sql("postgres") as connection:
        ((postgres,),) = connection.execute("SHOW server_version").fetchall()
    ours = environments.versions(OURS)
    software = [f"{name} {ours[name]}" for name in PACKAGES]
    redis = stand.redis_version()
    return {
        "Machine": _machine(),
        "Software": ", ".join([*software, f"PostgreSQL {postgres}", f"Redis {redis}"]),
        "Rivals": ", ".join(_rival_versions()),
        "Size": ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(size).items()),
    }


def _machine() -> str:
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cores = len(
        re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    )
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    name = cpu[1] if cpu else platform.machine()
    gigabytes = int(memory[1]) / 2**20 if memory else 0
    return f"{cores} cores of {name}, {gigabytes:.0f} GB, Linux {platform.release()}"


def _rival_versions() -> list[str]:
    """Return the package of each rival with its version."""
    found = []
    for rival in RIVALS:
        file = ROOT / "benchmarks" / "contenders" / rival.name / "requirements.txt"
        lines = file.read_text().split()
        own = next(line for line in lines if not line.startswith(SHARED))
        found.append(re.sub(r"\[.*?\]|==", " ", own))
    return [" ".join(name.split()) for name in found]


def save(results: Results, facts: Facts) -> None:
    """Save the samples, to render them again."""
    LAST.parent.mkdir(parents=True, exist_ok=True)
    kept = {"facts": facts, **dataclasses.asdict(results)}
    LAST.write_text(json.dumps(kept, indent=1))


def load() -> tuple[Results, Facts]:
    """Return the samples of the last run, if there was one."""
    if not LAST.exists():
        return Results(), {}
    kept = json.loads(LAST.read_text())
    samples = [
        Sample(s["contender"], s["measure"], s["figures"], Load(**s["load"]))
        for s in kept["samples"]
    ]
    return Results(samples, kept["missing"]), kept["facts"]


def beside(before: Results, results: Results) -> Results:
    """Return the results of an earlier run, replaced by those of this one where both exist."""
    new = {(sample.contender, sample.measure) for sample in results.samples}
    kept = [s for s in before.samples if (s.contender, s.measure) not in new]
    order = list(CONTENDERS)
    samples = sorted(
        results.samples + kept, key=lambda sample: order.index(sample.contender)
    )
    return Results(samples, {**before.missing, **results.missing})


def as_text(results: Results) -> str:
    """Return medians, then goals, for a terminal."""
    lines = ["", "medians [lowest-highest]"]
    for contender, measure, figure in results.names():
        median = results.median(contender, measure, figure)
        lines.append(f"  {measure:<14} {contender:<14} {figure:<24} {median}")
    lines += ["", f"{'measure':<50} {'goal':<16} {'measured':<9} met"]
    lines += [f"{a:<50} {b:<16} {c:<9} {d}" for a, b, c, d in _goals(results)]
    lines += [f"not measured: {name}: {why}" for name, why in results.missing.items()]
    return "\n".join(lines)


def _goals(results: Results) -> list[tuple[str, str, str, str]]:
    rows = []
    for goal in GOALS:
        measured = goal.measured(results)
        if measured is not None:
            value = f"{measured:.3g}{' x' if goal.other else ''}"
            met = "yes" if goal.met(measured) else "**no**"
            rows.append((goal.title, goal.wanted(), value, met))
    return rows


def write(results: Results, facts: Facts) -> None:
    """Replace the measured parts of the documents, and the plot."""
    if any(sample.measure == "drain atomic" for sample in results.samples):
        replace(MEASURED, _measured(results, facts))
        plot.draw(results, DOCS / "performance.svg")
    if curve := _curve(results):
        replace(CURVE, [*_listed(facts), table(CURVE_HEAD, curve)])


def replace(part: tuple[str, str], paragraphs: Sequence[str]) -> None:
    """Replace a part of a document, between its two comments."""
    file, name = part
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = (DOCS / file).read_text().partition(begin)
    _, _, after = rest.partition(end)
    text = "\n\n".join([begin, *paragraphs, end])
    (DOCS / file).write_text(f"{before}{text}{after}")


CURVE_ROWS = ("processes", "nodes", "partitions", "PgBouncer", "quorum queues")
CURVE_HEAD = (
    "workers",
    "plain Celery, events/s",
    "signal_tasks, events/s",
    "CPU per event of ours, us: workers / PostgreSQL / Redis",
)


def _curve(results: Results) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(sample.measure for sample in results.samples):
        if not name.endswith(CURVE_ROWS):
            continue
        rates = [
            _value(results, who, name, "events/s") for who in ("reference", "ours")
        ]
        parts = [
            _value(results, "ours", name, f"{part} us/event")
            for part in ("workers", "PostgreSQL", "Redis")
        ]
        rows.append((name, *rates, " / ".join(parts)))
    return rows


def _listed(facts: Facts) -> list[str]:
    return ["\n".join(f"- {name}: {value}" for name, value in facts.items())]


def _measured(results: Results, facts: Facts) -> list[str]:
    disturbed = sum(sample.load.disturbed for sample in results.samples)
    parts = [
        *_listed(facts),
        f"{len(results.samples)} runs, {disturbed} of them disturbed by other processes.",
        table(("measure", "goal", "measured", "met"), _goals(results)),
        "![Drain, cost to the sender and latency of all contenders](performance.svg)",
        table(HEAD, _everybody(results)),
        table(
            ("ours and the reference", "median", "lowest to highest"), _ours(results)
        ),
        *(f"Not measured: {name}: {why}" for name, why in results.missing.items()),
    ]
    return [part for part in parts if part]


HEAD = (
    "contender",
    "drain, events/s",
    "CPU per event, us",
    "flow, events/s",
    "added to the transaction, us",
    "commit to receiver, p50 / p95 ms",
    "memory of the workers, MB",
)
COLUMNS = (
    (("drain atomic", "events/s"),),
    (("drain atomic", "CPU us/event"),),
    (("flow", "events/s"),),
    (("send", "atomic us"),),
    (("latency", "p50 ms"), ("latency", "p95 ms")),
    (("drain atomic", "PSS MB"),),
)


def _everybody(results: Results) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(sample.contender for sample in results.samples):
        cells = [
            " / ".join(_value(results, name, *figure) for figure in column)
            for column in COLUMNS
        ]
        rows.append((CONTENDERS[name].title, *cells))
    return rows


def _value(results: Results, contender: str, measure: str, figure: str) -> str:
    median = results.median(contender, measure, figure)
    if median is None:
        return ""
    return f"{median.value:,.1f}" if median.value < 100 else f"{median.value:,.0f}"


def _ours(results: Results) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for contender, measure, figure in results.names():
        median = results.median(contender, measure, figure)
        if contender in (OURS.name, REFERENCE.name) and median is not None:
            spread = f"{median.low:,.4g} to {median.high:,.4g}"
            mark = f", {median.disturbed} of {median.runs} disturbed"
            note = mark if median.disturbed else ""
            title = f"{contender}: {measure}, {figure}"
            rows.append((title, f"{median.value:,.4g}", spread + note))
    return rows


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    found, told = load()
    print(as_text(found))
    write(found, told)
