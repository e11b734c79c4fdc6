"""Models, their instances by reference, and snapshots of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import AppConfig, apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import connection, models
from django.db.migrations.state import ModelState, ProjectState
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from signal_tasks.codec import Snapshot, decode, encode
from signal_tasks.exceptions import DecodeError, MissingInstance, PayloadError

LIMIT = 262_144
LABEL = "codec_models"


class CodecModels(AppConfig):
    """An app of this module's own, installed while its tests run."""

    name = __name__
    label = LABEL
    path = "."
    default_auto_field = "django.db.models.BigAutoField"


class Place(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=20)

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return self.name


class Shop(Place):
    rent = models.DecimalField(max_digits=9, decimal_places=2)

    class Meta:
        app_label = LABEL


class Seen(models.Manager["Shop"]):
    def get_queryset(self) -> models.QuerySet[Shop]:
        return super().get_queryset().none()


class HiddenShop(Shop):
    objects = Seen()

    class Meta:
        app_label = LABEL
        proxy = True


class Special(models.Manager["Place"]):
    """Returns each place as the most special class that it has."""

    def get_queryset(self) -> Any:
        shops: Any = Shop._default_manager.all()
        return shops if shops.exists() else super().get_queryset()


class Spot(Place):
    """A place whose base manager returns shops."""

    special = Special()

    class Meta:
        app_label = LABEL
        base_manager_name = "special"
        proxy = True


class Kept(Place):
    """A place whose base manager shows none."""

    seen = Seen()

    class Meta:
        app_label = LABEL
        base_manager_name = "seen"
        proxy = True


class Cell(models.Model):
    pk = models.CompositePrimaryKey("row", "column")
    row = models.DecimalField(max_digits=9, decimal_places=2)
    column = models.UUIDField()

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return "cell"


class Document(models.Model):
    photo = models.FileField()
    facts = models.JSONField()
    body = models.BinaryField()
    place = models.ForeignKey(Place, models.CASCADE, null=True)
    doubled = models.GeneratedField(
        expression=models.F("id") * 2,
        output_field=models.BigIntegerField(),
        db_persist=True,
    )

    class Meta:
        app_label = LABEL

    def __str__(self) -> str:
        return "document"


class Ghost(models.Model):
    class Meta:
        abstract = True


class Stray(models.Model):
    """Of an app that is not installed."""

    class Meta:
        app_label = "codec_nowhere"

    def __str__(self) -> str:
        return "stray"


class ToReplica:
    """Reads go elsewhere; writes go to the default database."""

    def db_for_read(self, model: type[models.Model], **hints: object) -> str:
        return "replica"

    def db_for_write(self, model: type[models.Model], **hints: object) -> str:
        return "default"


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    """Install the app alone: ``modify_settings`` would make every app ready again."""
    config = CodecModels(__name__, sys.modules[__name__])
    config.apps, config.models = apps, apps.all_models[LABEL]
    apps.app_configs[LABEL] = config
    yield
    del apps.app_configs[LABEL]


@pytest.fixture
def _tables(transactional_db: None) -> Iterator[None]:
    tables = [Place, Shop, Cell]
    with connection.schema_editor() as editor:
        for model in tables:
            editor.create_model(model)
    yield
    with connection.schema_editor() as editor:
        for model in reversed(tables):
            editor.delete_model(model)


def sent(value: object, sender: object = None) -> str:
    return encode("order_confirmed", sender, {"value": value}, max_bytes=LIMIT)


def arrived(value: object) -> Any:
    return decode(sent(value)).kwargs["value"]


def refusal(value: object) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        sent(value)
    return caught.value


def user() -> User:
    return User.objects.create_user("ada")


def queries() -> CaptureQueriesContext:
    return CaptureQueriesContext(connection)


# By reference


@pytest.mark.django_db
def test_an_instance_is_read_again_where_it_arrives() -> None:
    ada = user()
    text = sent(ada)
    User.objects.update(first_name="Ada")
    again = decode(text).kwargs["value"]
    assert (type(again), again, again.first_name) == (User, ada, "Ada")
    assert again._state.db == "default"


@pytest.mark.django_db
def test_sending_runs_no_query() -> None:
    ada = user()
    deferred = User.objects.only("username").get()
    with queries() as run:
        sent([ada, deferred, Snapshot(ada), Snapshot(deferred), User], sender=ada)
    assert len(run) == 0


@pytest.mark.django_db
def test_an_instance_that_is_named_twice_is_read_once_and_is_one() -> None:
    ada = user()
    text = sent([ada, User.objects.get(), {1: ada}], sender=ada)
    with queries() as run:
        payload = decode(text)
    assert len(run) == 1
    first, second, third = payload.kwargs["value"]
    assert payload.sender is first is second is third[1]


@pytest.mark.django_db
def test_the_logged_in_user_of_a_request_is_unwrapped() -> None:
    ada = user()
    assert type(arrived(SimpleLazyObject(lambda: ada))) is User
    assert type(arrived(Snapshot(SimpleLazyObject(lambda: ada)))) is User


@pytest.mark.django_db
def test_an_instance_read_from_a_replica_is_read_from_where_it_is_written() -> None:
    ada = user()
    ada._state.db = "replica"
    with override_settings(DATABASE_ROUTERS=[ToReplica()]):
        assert f'["auth.user",{ada.pk},"default"]' in sent(ada)


@pytest.mark.django_db
def test_a_snapshot_of_what_a_replica_had_belongs_where_it_is_written() -> None:
    ada = user()
    ada._state.db = "replica"
    with override_settings(DATABASE_ROUTERS=[ToReplica()]):
        again = arrived(Snapshot(ada))
    assert again._state.db == "default"


@pytest.mark.django_db
def test_without_a_router_an_instance_keeps_its_database() -> None:
    ada = user()
    ada._state.db = "elsewhere"
    with pytest.raises(DecodeError, match="no database 'elsewhere'"):
        decode(sent(ada))


@pytest.mark.usefixtures("_tables")
def test_child_proxy_and_parent_arrive_as_what_they_were() -> None:
    shop = Shop(name="corner", rent=Decimal("9.50"))
    shop.save()
    hidden = HiddenShop(pk=shop.pk, name="x", rent=0)
    hidden._state.adding = False
    place = Place._default_manager.get()
    for value in (shop, hidden, place):
        again = arrived(value)
        assert (type(again), again.pk) == (type(value), shop.pk)
    assert arrived(shop).rent == Decimal("9.50")


@pytest.mark.usefixtures("_tables")
def test_an_instance_arrives_as_the_class_that_was_sent() -> None:
    Shop(name="corner", rent=Decimal("9.50")).save()
    spot: Spot = models.QuerySet(Spot).get()
    again = arrived(spot)
    assert (type(again), again) == (Spot, spot)


@pytest.mark.usefixtures("_tables")
def test_a_row_that_its_base_manager_hides_is_told_from_one_that_is_gone() -> None:
    Shop(name="corner", rent=Decimal("9.50")).save()
    text = sent(models.QuerySet(Kept).get())
    with pytest.raises(MissingInstance, match="hidden by the base manager") as caught:
        decode(text)
    assert caught.value.hidden
    for model in (Shop, Place):
        models.QuerySet(model)._raw_delete("default")
    with pytest.raises(MissingInstance, match="is not in database") as caught:
        decode(text)
    assert not caught.value.hidden


@pytest.mark.usefixtures("_tables")
def test_a_composite_key_arrives() -> None:
    cell = Cell(row=Decimal("1.50"), column=UUID(int=7))
    cell.save()
    assert arrived(cell) == cell


def test_a_composite_key_must_be_complete() -> None:
    cell = Cell(row=1, column=None)
    cell._state.adding = False
    assert "has not been saved" in refusal(cell).problem


@pytest.mark.django_db
@pytest.mark.parametrize("on_missing", ["reject", "skip"])
def test_a_row_that_is_gone_is_told(on_missing: Any) -> None:
    ada = user()
    text, pk = sent(ada), ada.pk
    ada.delete()
    with pytest.raises(MissingInstance) as caught:
        decode(text, on_missing=on_missing)
    missing = caught.value
    assert (missing.model, missing.pk, missing.database) == ("auth.User", pk, "default")


@pytest.mark.django_db
def test_a_row_that_is_gone_can_be_none() -> None:
    ada = user()
    text = sent([ada, 1], sender=ada)
    ada.delete()
    payload = decode(text, on_missing="none")
    assert (payload.sender, payload.kwargs) == (None, {"value": [None, 1]})


@pytest.mark.django_db
@pytest.mark.parametrize("unsaved", [User(), User(pk=5), User(username="x")])
def test_an_unsaved_instance_is_refused(unsaved: User) -> None:
    error = refusal({"who": [unsaved]})
    assert error.path == "value['who'][0]"
    assert "save it first" in error.problem
    assert "Snapshot" in error.problem


@pytest.mark.django_db
def test_a_deleted_instance_is_refused() -> None:
    ada = user()
    ada.delete()
    assert "or was deleted" in refusal(ada).problem


@pytest.mark.django_db
def test_a_key_of_a_type_that_cannot_travel_is_refused_at_its_place() -> None:
    ada = user()
    ada.pk = object()  # type: ignore[assignment]
    assert refusal(ada).path == "value.pk"


@pytest.mark.django_db
def test_a_model_or_key_that_is_gone_from_the_code_is_a_decode_error() -> None:
    text = sent(user())
    with pytest.raises(DecodeError, match="nobody"):
        decode(text.replace("auth.user", "auth.nobody"))
    with pytest.raises(DecodeError, match="nowhere"):
        decode(text.replace("auth.user", "nowhere.user"))
    bad = '{"v":1,"sender":{"$instance":["auth.user","x","default"]},"kwargs":{}}'
    with pytest.raises(DecodeError, match="expected a number"):
        decode(bad)


# Models


def test_models_arrive_as_themselves() -> None:
    through = User.groups.through
    for model in (User, HiddenShop, Shop, Cell, through, Ghost, models.Model):
        assert arrived(model) is model
        assert decode(sent(1, sender=model)).sender is model


def test_a_swapped_model_arrives() -> None:
    with override_settings(AUTH_USER_MODEL=f"{LABEL}.Place"):
        assert User._meta.swapped
        assert arrived(User) is User


def test_a_historical_model_of_a_migration_is_refused() -> None:
    state = ProjectState()
    state.add_model(ModelState.from_model(ContentType))
    historical = state.apps.get_model("contenttypes", "ContentType")
    assert "historical model" in refusal(historical).problem
    instance = historical(pk=1)
    instance._state.adding = False
    assert "send the primary key" in refusal(instance).problem


def test_a_model_of_no_installed_app_is_refused() -> None:
    assert "as codec_nowhere.stray" in refusal(Stray).problem


# Snapshots


@pytest.mark.django_db
def test_a_snapshot_arrives_as_it_was_without_a_query() -> None:
    ada = user()
    text = sent(Snapshot(ada))
    before = {field.attname: getattr(ada, field.attname) for field in ada._meta.fields}
    ada.delete()
    with queries() as run:
        again = decode(text).kwargs["value"]
        after = {name: getattr(again, name) for name in before}
    assert (type(again), after, len(run)) == (User, before, 0)
    assert (again._state.db, again._state.adding) == ("default", False)


@pytest.mark.django_db
def test_deferred_fields_of_a_snapshot_stay_deferred() -> None:
    user()
    partial = User.objects.only("username").get()
    again = arrived(Snapshot(partial))
    assert again.get_deferred_fields() == partial.get_deferred_fields()
    assert again.email == ""


@pytest.mark.django_db
def test_a_snapshot_keeps_the_ids_of_what_it_points_to() -> None:
    permission = Permission.objects.select_related("content_type").first()
    assert permission is not None
    again = arrived(Snapshot(permission))
    assert again.content_type_id == permission.content_type_id
    assert again.content_type == permission.content_type


def test_a_snapshot_keeps_files_json_bytes_and_keys() -> None:
    facts = {"a": [1, None], "$decimal": 1.5}
    document = Document(
        id=3, photo="a.jpg", facts=facts, body=memoryview(b"\xff"), place_id=UUID(int=1)
    )
    assert document.photo.name == "a.jpg"
    again = arrived(Snapshot(document))
    assert again.photo.name == "a.jpg"
    assert type(again.photo) is type(document.photo)
    assert (again.facts, again.body, again.place_id) == (facts, b"\xff", UUID(int=1))
    assert "doubled" in again.get_deferred_fields()


def test_a_snapshot_of_a_child_and_of_an_unsaved_instance_arrives() -> None:
    shop = Shop(name="corner", rent=Decimal("9.50"))
    again = arrived(Snapshot(shop))
    assert (type(again), again.pk, again.rent) == (Shop, shop.pk, shop.rent)
    assert (again._state.adding, again._state.db) == (True, None)


def test_a_field_gone_since_is_dropped_and_a_new_one_is_deferred() -> None:
    text = sent(Snapshot(Group(id=1, name="staff"))).replace('"name"', '"title"')
    again = decode(text).kwargs["value"]
    assert again.get_deferred_fields() == {"name"}
    assert not hasattr(again, "title")


def test_a_file_that_is_not_stored_yet_is_refused() -> None:
    document = Document(photo=ContentFile(b"x", name="new.jpg"), facts={}, body=b"")
    assert document.photo
    error = refusal([Snapshot(document)])
    assert error.path == "value[0].photo"
    assert "saved file" in error.problem


@pytest.mark.django_db
def test_a_value_that_only_the_database_knows_is_refused() -> None:
    ada = user()
    ada.first_name = models.F("last_name")
    error = refusal(Snapshot(ada))
    assert error.path == "value.first_name"
    assert "refresh_from_db()" in error.problem


def test_a_snapshot_in_its_own_field_is_a_cycle() -> None:
    document = Document(photo="", body=b"")
    document.facts = [Snapshot(document)]
    assert refusal(Snapshot(document)).path == "value.facts[0]"


def test_only_a_model_instance_can_be_a_snapshot() -> None:
    with pytest.raises(TypeError, match="takes a model instance"):
        Snapshot(User)


# Refusals


@pytest.mark.django_db
@pytest.mark.parametrize("attribute", ["objects.all", "objects.none"])
def test_a_queryset_is_refused_unread(attribute: str) -> None:
    many = User.objects.all() if attribute == "objects.all" else User.objects.none()
    with queries() as run:
        error = refusal(many)
    assert 'list(qs.values_list("pk", flat=True))' in error.problem
    assert len(run) == 0


@pytest.mark.django_db
def test_managers_and_files_are_refused() -> None:
    assert "values_list" in refusal(User.objects).problem
    assert "values_list" in refusal(user().groups).problem
    assert "saved file" in refusal(Document(photo="a.jpg").photo).problem
