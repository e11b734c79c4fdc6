"""Failures of one cause have one fingerprint, failures of two causes have two."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from hypothesis import given, settings
from hypothesis import strategies as st

from signal_tasks import register_type
from signal_tasks.codec import decode, encode
from signal_tasks.exceptions import WorkerLost
from signal_tasks.fingerprints import Fingerprint, fingerprint, general
from signal_tasks.selection import Selection


def raised_by(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it has raised nothing")


def of(function: Callable[[], object], receiver: str = "t.receiver") -> Fingerprint:
    return fingerprint(receiver, raised_by(function))


def fail(error: BaseException) -> None:
    raise error


def here(name: str) -> str:
    return f"{__name__}.{name}"


# -- what it is made of -------------------------------------------------------------


def test_it_is_sixteen_hexadecimal_digits_with_what_to_show() -> None:
    found = of(lambda: fail(ValueError("no")))
    assert len(found.value) == 16
    assert int(found.value, 16)
    assert (found.error_type, found.location) == ("ValueError", here("fail"))


def test_a_type_of_somebody_else_is_named_with_its_module() -> None:
    found = of(lambda: fail(ValidationError("no")))
    assert found.error_type == "django.core.exceptions.ValidationError"


def fail_too(error: BaseException) -> None:
    raise error


def test_receiver_type_function_and_words_all_make_a_difference() -> None:
    values = {
        of(lambda: fail(ValueError("no"))).value,
        of(lambda: fail(ValueError("no")), "t.another").value,
        of(lambda: fail(TypeError("no"))).value,
        of(lambda: fail(ValueError("never"))).value,
        of(lambda: fail_too(ValueError("no"))).value,
    }
    assert len(values) == 5


# -- where it failed ----------------------------------------------------------------


def parse(text: str) -> object:
    return json.loads(text)


def test_code_of_the_library_and_of_python_is_not_where_it_failed() -> None:
    assert of(lambda: parse("{")).location == here("parse")


def filtered() -> object:
    return Paginator("ab", per_page=1).page(3)


def test_installed_packages_are_not_where_it_failed() -> None:
    assert of(filtered).location == here("filtered")


def convert(number: int) -> str:
    return "".join([str(1 // n) for n in range(number)])


def test_a_comprehension_is_the_function_that_holds_it() -> None:
    """Some versions of Python make a function of it, others do not."""
    assert of(lambda: convert(3)).location == here("convert")


class Wrapped(Exception):
    pass


def wrap() -> None:
    try:
        parse("{")
    except ValueError as error:
        raise Wrapped("it cannot be read") from error


def test_an_error_raised_from_another_failed_where_it_was_raised() -> None:
    found = of(wrap)
    assert found.location == here("wrap")
    assert found.error_type == here("Wrapped")


def as_in_a_worker(error: BaseException) -> BaseException:
    """Take the frames of the test from the traceback."""
    step = error.__traceback__
    while step and not step.tb_frame.f_globals["__name__"].startswith("signal_tasks"):
        step = step.tb_next
    return error.with_traceback(step)


class Note:
    pass


def read_note(data: object) -> Note:
    raise LookupError("no such note")


def test_an_error_that_we_raise_from_one_of_the_project_failed_in_the_project() -> None:
    register_type(
        Note, encode=lambda note: 1, decode=read_note, name=f"note_{uuid.uuid4().hex}"
    )
    text = encode("t.signal", None, {"note": Note()}, max_bytes=1000)
    error = as_in_a_worker(raised_by(lambda: decode(text)))
    assert fingerprint("t.receiver", error).location == here("read_note")


def test_without_code_of_the_project_it_is_where_the_error_came_from() -> None:
    error = as_in_a_worker(raised_by(lambda: Selection.from_json("{")))
    found = fingerprint("t.receiver", error)
    assert found.location.startswith("json.decoder.")


def test_an_error_that_only_we_have_raised_has_no_place() -> None:
    """Which of our functions raise it depends on the way a delivery is run."""
    error = as_in_a_worker(raised_by(lambda: decode("[]")))
    assert fingerprint("t.receiver", error).location == ""


async def wait_and_fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


def test_an_async_receiver_failed_where_it_was_written() -> None:
    assert of(async_to_sync(wait_and_fail)).location == here("wait_and_fail")


async def fail_together(*errors: BaseException) -> None:
    async with asyncio.TaskGroup() as tasks:
        for error in errors:
            tasks.create_task(fail_later(error))


async def fail_later(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


def test_a_group_of_errors_is_known_by_what_is_in_it_in_any_order() -> None:
    def together(*errors: BaseException) -> Fingerprint:
        return of(lambda: async_to_sync(fail_together)(*errors))

    one = together(ValueError("no"), TypeError("never"))
    assert one == together(TypeError("never"), ValueError("no"))
    assert one.error_type == "ExceptionGroup: TypeError"
    assert one.location == here("fail_later")
    assert one != together(KeyError("k"))


def test_an_error_without_a_traceback_has_no_place() -> None:
    found = fingerprint("t.receiver", WorkerLost("the worker died"))
    assert found.location == ""
    assert found == fingerprint("t.receiver", WorkerLost("the worker died"))
    assert found.value != fingerprint("t.receiver", WorkerLost("it hung")).value


def loaded(folder: Path, source: str) -> ModuleType:
    (folder / "broken.py").write_text(source)
    sys.path.insert(0, str(folder))
    try:
        import broken  # type: ignore[import-not-found]

        return broken  # type: ignore[no-any-return]
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("broken", None)


def test_a_module_that_cannot_be_compiled_fails_where_it_is_imported(
    tmp_path: Path,
) -> None:
    one = of(lambda: loaded(tmp_path, "def f(:\n"))
    assert (one.error_type, one.location) == ("SyntaxError", here("loaded"))
    assert one == of(lambda: loaded(tmp_path, "\n\n\ndef f(:\n"))


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its name")


def test_an_error_that_cannot_be_shown_has_one_too() -> None:
    found = of(lambda: fail(UnspeakableError()))
    assert found.location == here("fail")


def test_any_text_of_an_error_has_one() -> None:
    for text in ("", "\0", "\ud800", "\n\n", "'", "\\", "x" * 3_000_000):
        assert len(of(lambda text=text: fail(ValueError(text))).value) == 16  # type: ignore[misc]


def test_names_are_bounded_and_can_be_stored() -> None:
    error = type("E" * 400, (Exception,), {"__module__": "\0\ud800"})()
    found = of(lambda: fail(error))
    assert len(found.error_type) == 255
    assert found.error_type.isprintable()


# -- that it stays the same -----------------------------------------------------------

MODULE = """
def helper(n):
    {extra}
    return 1 // n

def receiver(sender, **kwargs):
    return helper(0)
"""
SCRIPT = """
import shopcode
from signal_tasks.fingerprints import fingerprint
try:
    shopcode.receiver(None)
except ZeroDivisionError as error:
    print(*fingerprint("shopcode.receiver", error))
"""


def fingerprint_in_another_process(folder: Path, source: str, seed: str) -> str:
    folder.mkdir(parents=True)
    (folder / "shopcode.py").write_text(source)
    root = str(Path(__file__).parents[3])
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), root]),
        "PYTHONHASHSEED": seed,
    }
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_is_the_same_in_any_folder_process_and_line(tmp_path: Path) -> None:
    pristine = MODULE.format(extra="pass")
    shifted = "\n\ndef another():\n    pass\n" + MODULE.format(extra="x = 1; x += 1")
    found = [
        fingerprint_in_another_process(tmp_path / "srv" / "app", pristine, "0"),
        fingerprint_in_another_process(tmp_path / "another host", shifted, "42"),
    ]
    assert found[0] == found[1]
    assert found[0].endswith("ZeroDivisionError shopcode.helper")


TEMPLATES = (
    "order {} is gone",
    "no row with id={}, try again",
    "cannot read ({}) of [{}]",
    "{}",
    "failed after {} seconds for {}: refused",
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ids = st.uuids() | st.binary(min_size=4, max_size=40).map(bytes.hex)
addresses = st.from_regex(r"[a-z][a-z.]{0,9}@[a-z]{1,9}\.org", fullmatch=True)
paths = st.from_regex(r"(/[a-zA-Z_.]{1,9}){1,4}", fullmatch=True)
times = st.datetimes(timezones=st.just(None)).map(lambda time: time.isoformat())
quoted = st.text(max_size=30).map(repr)
objects = st.integers(0, 2**48).map(lambda n: f"<Order object at {n:#x}>")
listed = st.lists(numbers, min_size=1, max_size=9).map(str)
PARTICULARS: dict[str, st.SearchStrategy[Any]] = {
    "numbers": numbers,
    "ids": ids,
    "addresses": addresses,
    "paths": paths,
    "times": times,
    "quoted text": quoted,
    "objects": objects,
    "lists": listed,
}


@pytest.mark.parametrize("kind", PARTICULARS)
@settings(max_examples=100)
@given(st.data(), st.sampled_from(TEMPLATES))
def test_particulars_do_not_change_it(
    kind: str, data: st.DataObject, template: str
) -> None:
    def text() -> str:
        values = [data.draw(PARTICULARS[kind]) for _ in range(template.count("{}"))]
        return template.format(*values)

    assert general(text()) == general(text())


SAME = {
    "a constraint": (
        'duplicate key value violates unique constraint "a"\n'
        "DETAIL:  Key (name)=(John) already exists.",
        'duplicate key value violates unique constraint "a"\n'
        "DETAIL:  Key (name)=(Mary Jane) already exists.",
    ),
    "an escaped quote": (repr('it\'s "x"'), repr("plain")),
    "what has been cut": ("bad text: '" + "a" * 1990, "bad text: 'x'"),
    "a Windows path": (r"cannot open C:\a\b.txt", r"cannot open D:\c.txt"),
    "curly quotes": ("no “a” here", "no “b c” here"),
    "a sign": ("balance is -5", "balance is 1,234.50"),
    "spaces": ("no   answer", "no answer"),
}


@pytest.mark.parametrize("what", SAME)
def test_it_does_not_depend_on(what: str) -> None:
    one, other = SAME[what]
    assert general(one) == general(other)


def test_an_apostrophe_is_no_quote() -> None:
    assert general("can't read what isn't there") == "can't read what isn't there"


def test_what_is_compared_is_bounded() -> None:
    assert len(general("word " * 1000)) == 200
