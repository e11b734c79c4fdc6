"""The verb that says what is missing until the first delivery."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict

from signal_tasks.commands.arguments import as_json, seconds
from signal_tasks.commands.output import Output
from signal_tasks.commands.verb import Given, verb
from signal_tasks.doctor.examination import examine
from signal_tasks.doctor.findings import Finding, Verdict

#: A relay publishes what was lost after some five seconds; the test event waits for it.
TIMEOUT = 15.0


def _timeout(parser: ArgumentParser) -> None:
    text = f"wait no longer than this for each answer ({TIMEOUT:g} seconds)"
    parser.add_argument(
        "--timeout", type=seconds, default=TIMEOUT, metavar="SECONDS", help=text
    )


@verb(
    "doctor",
    "say what is missing, and send a test event; exit status 1 if something is",
    _timeout,
    as_json,
    checks=False,
)
def doctor(out: Output, given: Given) -> None:
    """Print the findings as they are made."""
    found: list[Finding] = []
    for finding in examine(given["timeout"]):
        found.append(finding)
        if not given["json"]:
            _print(out, finding)
    healthy = all(finding.verdict is not Verdict.PROBLEM for finding in found)
    if given["json"]:
        out.json({"healthy": healthy, "findings": [asdict(each) for each in found]})
    if not healthy:
        raise SystemExit(1)


def _print(out: Output, finding: Finding) -> None:
    styles = {Verdict.OK: out.style.SUCCESS, Verdict.PROBLEM: out.style.ERROR}
    style = styles.get(finding.verdict, out.style.WARNING)
    out.say(f"{style(f'{finding.verdict:<8}')} {finding.step:<11} {finding.text}")
    if finding.remedy:
        out.say(f"{'':<8} {'':<11} -> {finding.remedy}")


VERBS = (doctor,)
