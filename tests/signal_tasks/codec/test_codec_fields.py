"""Values that only their model field can convert: in snapshots, and as keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import AppConfig, apps
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.db import connection, models
from django.utils.functional import SimpleLazyObject

from signal_tasks.codec import Snapshot, decode, encode
from signal_tasks.exceptions import DecodeError
from tests.signal_tasks.codec.values import LIMIT, Opaque, arrived, refusal, sent

LABEL = "codec_fields"


class CodecFields(AppConfig):
    """An app of this module's own, installed while its tests run."""

    name = __name__
    label = LABEL
    path = "."
    default_auto_field = "django.db.models.BigAutoField"


class Color:
    """A value class as packages have them; nothing carries it by itself."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"#{self.code}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Color) and other.code == self.code

    def __hash__(self) -> int:
        return hash(self.code)


class ColorField(models.CharField):  # type: ignore[type-arg]
    """A field that converts in both directions, as Django documents it."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else Color(value)

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, Color):
            return value
        if not value.startswith("#"):
            raise ValidationError("a color starts with #")
        return Color(value[1:])

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else value.code


class StoredColorField(models.CharField):  # type: ignore[type-arg]
    """A field that knows the way to the database and back, and no text."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else Color(value)

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else value.code


class PaletteField(models.TextField):  # type: ignore[type-arg]
    """A field whose value is a list of values that nothing carries."""

    def value_to_string(self, obj: Any) -> str:
        return " ".join(map(str, self.value_from_object(obj)))

    def to_python(self, value: Any) -> Any:
        return [Color(word[1:]) if word[0] == "#" else word for word in value.split()]


class Assigned:
    """Converts text when it is assigned, as geometries do."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: Any) -> None:
        made = Color(value[1:]) if isinstance(value, str) else value
        instance.__dict__[self.name] = made


class AssignedColorField(models.Field):  # type: ignore[type-arg]
    def contribute_to_class(self, cls: Any, name: str, *args: Any) -> None:
        super().contribute_to_class(cls, name, *args)
        setattr(cls, self.attname, Assigned(self.attname))


class OneWayField(models.CharField):  # type: ignore[type-arg]
    """A field that only knows the way to the database."""

    def get_prep_value(self, value: Any) -> Any:
        return str(value)


class NoColor(Exception):
    """Of the package that has the field, so derived from nothing that others know."""


class BrokenField(models.CharField):  # type: ignore[type-arg]
    def value_to_string(self, obj: Any) -> str:
        raise NoColor

    def get_prep_value(self, value: Any) -> Any:
        raise ValidationError("no value")


class Paint(models.Model):
    name = ColorField(max_length=6, primary_key=True)
    color = ColorField(max_length=6, null=True)
    stored = StoredColorField(max_length=6, null=True)
    assigned = AssignedColorField(null=True)
    one_way = OneWayField(max_length=20, null=True)
    palette = PaletteField(default="")
    broken = BrokenField(max_length=20, null=True)
    photo = models.FileField()
    facts = models.JSONField(null=True)

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return "paint"


class Ink(models.Model):
    color = ColorField(max_length=6, primary_key=True)
    liters = models.IntegerField()

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return "ink"


class Coat(models.Model):
    paint = models.ForeignKey(Paint, models.CASCADE)

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return "coat"


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    """Install the app alone: ``modify_settings`` would make every app ready again."""
    config = CodecFields(__name__, sys.modules[__name__])
    config.apps, config.models = apps, apps.all_models[LABEL]
    apps.app_configs[LABEL] = config
    yield
    del apps.app_configs[LABEL]


RED = Color("ff0000")


@pytest.mark.parametrize("name", ["color", "stored", "assigned"])
@pytest.mark.parametrize("value", [RED, None])
def test_a_snapshot_carries_a_value_that_its_field_converts(
    name: str, value: Color | None
) -> None:
    again = arrived(Snapshot(Paint(**{name: value})))
    assert (type(getattr(again, name)), getattr(again, name)) == (type(value), value)


def test_a_snapshot_carries_the_converted_key_of_what_it_points_to() -> None:
    again = arrived(Snapshot(Coat(paint_id=RED)))
    assert again.paint_id == RED


def test_a_value_that_travels_by_itself_is_not_converted() -> None:
    now = datetime.now(UTC)
    again = arrived(Snapshot(Paint(broken=now, facts={"at": (now,)})))
    assert (again.broken, again.facts) == (now, {"at": (now,)})


@pytest.mark.parametrize("name", ["one_way", "broken"])
def test_a_value_that_its_field_does_not_read_back_is_refused(name: str) -> None:
    error = refusal([Snapshot(Paint(**{name: RED}))])
    assert error.path == f"value[0].{name}"
    assert "register_type()" in error.problem
    assert "value_to_string() that its to_python() reads back" in error.problem


def test_a_value_of_another_class_than_its_field_makes_is_refused() -> None:
    assert refusal(Snapshot(Paint(color=Opaque()))).path == "value.color"


def test_what_is_no_value_yet_is_not_converted() -> None:
    upload = Paint(photo=ContentFile(b"x", name="new.jpg"))
    assert upload.photo
    assert "saved file" in refusal(Snapshot(upload)).problem
    computed = Paint(color=models.F("stored"))
    assert "refresh_from_db()" in refusal(Snapshot(computed)).problem


def test_the_path_leads_into_a_field_that_holds_other_values() -> None:
    error = refusal(Snapshot(Paint(facts={"a": [RED]})))
    assert error.path == "value.facts['a'][0]"
    assert "to_python" not in error.problem


def test_a_list_of_such_values_may_stand_in_many_places() -> None:
    colors = [RED, Color("00ff00")]
    sent_ = [Snapshot(Paint(palette=colors)) for _ in range(300)]
    again = arrived(sent_)
    assert [paint.palette for paint in again] == [colors] * 300


def test_values_that_a_field_converts_count_for_the_limit_as_text() -> None:
    many = [Snapshot(Paint(palette=["x" * 1000, RED])) for _ in range(300)]
    assert "longer than" in refusal(many).problem


@pytest.fixture
def _ink_table(transactional_db: None) -> Iterator[None]:
    with connection.schema_editor() as editor:
        editor.create_model(Ink)
    yield
    with connection.schema_editor() as editor:
        editor.delete_model(Ink)


@pytest.mark.usefixtures("_ink_table")
def test_an_instance_whose_key_its_field_converts_is_read_again() -> None:
    ink = Ink._default_manager.create(color=RED, liters=1)
    text = sent(ink)
    Ink._default_manager.update(liters=2)
    again = decode(text).kwargs["value"]
    assert (again.pk, again.liters) == (RED, 2)


def test_a_field_that_no_longer_reads_its_form_is_a_decode_error() -> None:
    text = sent(Snapshot(Paint(color=RED)))
    for old, new in [("#ff0000", "ff0000"), (LABEL, "gone")]:
        with pytest.raises(DecodeError, match=r"\$column"):
            decode(text.replace(old, new))


def test_a_field_gone_since_is_dropped_with_its_form() -> None:
    text = sent(Snapshot(Paint(color=RED))).replace('"color"', '"gone"')
    assert decode(text).kwargs["value"].get_deferred_fields() >= {"color"}


# Anonymous users


class Visitor(AnonymousUser):
    pass


class Guest(AnonymousUser):
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize("kind", [AnonymousUser, Visitor])
def test_a_visitor_who_is_not_logged_in_arrives_as_one(kind: type) -> None:
    visitor = kind()
    visitor.device = Opaque()  # as middleware leaves such things on a request's user
    for value in (visitor, SimpleLazyObject(lambda: visitor)):
        again = arrived({"user": value})["user"]
        assert (type(again), again.is_anonymous) == (kind, True)


def test_a_visitor_can_be_the_sender() -> None:
    payload = decode(encode("s", AnonymousUser(), {}, max_bytes=LIMIT))
    assert payload.sender == AnonymousUser()


def test_an_anonymous_user_with_a_constructor_of_its_own_is_refused() -> None:
    assert "Guest cannot travel" in refusal(Guest("x")).problem


def test_only_an_anonymous_user_is_read_as_one() -> None:
    text = sent(AnonymousUser()).replace("AnonymousUser", User.__name__)
    with pytest.raises(DecodeError, match="not a class of anonymous users"):
        decode(text)
