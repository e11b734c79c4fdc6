"""Draw the contenders side by side; the only user of matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.figures import Results
from benchmarks.roster import CONTENDERS, OURS, REFERENCE

PANELS = (
    ("drain of a backlog, events/s", (("drain atomic", "events/s"),)),
    ("added to the sender's transaction, µs", (("send", "atomic us"),)),
    (
        "commit to receiver at 50/s, ms (p50, p95)",
        (("latency", "p50 ms"), ("latency", "p95 ms")),
    ),
)
COLOURS = {OURS.name: "#0b7a75", REFERENCE.name: "#555555"}
OTHER = "#b8b8b8"


def draw(results: Results, path: Path) -> None:
    """Write the picture, in the format that the suffix of the path names."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "signal_tasks"})
    from matplotlib import pyplot

    names = list(dict.fromkeys(sample.contender for sample in results.samples))[::-1]
    height = 0.8 + 0.36 * len(names)
    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(12, height), sharey=True)
    for panel, (title, columns) in zip(panels, PANELS, strict=True):
        _panel(panel, results, names, columns)
        panel.set_title(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(
    panel: Any,
    results: Results,
    names: list[str],
    columns: tuple[tuple[str, str], ...],
) -> None:
    """Draw horizontal bars, the last column behind the first, each with its figure."""
    for number, column in reversed(list(enumerate(columns))):
        medians = [results.median(name, *column) for name in names]
        panel.barh(
            [CONTENDERS[name].title for name in names],
            [median.value if median else 0 for median in medians],
            color=[COLOURS.get(name, OTHER) for name in names],
            alpha=0.35 if number else 1.0,
            height=0.7,
        )
    for place, name in enumerate(names):
        found = [m for column in columns if (m := results.median(name, *column))]
        if found:
            text = " / ".join(f"{median.value:,.4g}" for median in found)
            panel.text(found[-1].value, place, f" {text}", va="center", fontsize=8)
    panel.margins(x=0.22)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9)
