"""Ask before many deliveries are changed, then have an operation change them.

An action of a list comes here twice. First, it gets a page that says exactly what will
happen and to how many, asks why, and carries the selection, signed and with the time
up to which it counts. Then the form of that page comes back through the same action,
so the permission is checked again, and for the same selection: what has come to the
list meanwhile is not among it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import SuspiciousOperation
from django.core.signing import BadSignature, dumps, loads
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from signal_tasks import operations
from signal_tasks.admin.trace import log_operation
from signal_tasks.admin.window import MAX_COUNTED, counted
from signal_tasks.db.aliases import outbox_aliases
from signal_tasks.operations import Operation, Selection

#: Above so many deliveries a replay may go in the steps of a canary; up to so many,
#: it is done before the answer.
MANY = 100
#: Seconds that a request works at an operation.
WORK_SECONDS = 5.0
SALT = "signal_tasks.admin.confirmation"
TEMPLATE = "admin/signal_tasks/confirmation.html"
#: Receivers that the page lists.
MAX_RECEIVERS = 10

NOTHING_TO = {
    "replay": _("Nothing to replay: only dead and discarded deliveries can be."),
    "discard": _("Nothing to discard: only pending and dead deliveries can be."),
}
TITLES = {"replay": _("Replay deliveries?"), "discard": _("Discard deliveries?")}
BUTTONS = {"replay": _("Yes, replay them"), "discard": _("Yes, discard them")}
EFFECTS = {
    "replay": _(
        "They become pending again, with all their attempts, and their receivers run "
        "again."
    ),
    "discard": _(
        "They are finished without being run. Only a replay brings them back, for as "
        "long as discarded deliveries are kept."
    ),
}
VERBS: dict[str, Callable[..., Operation]] = {
    "replay": operations.replay,
    "discard": operations.discard,
}


class ConfirmationForm(forms.Form):
    """A reason, and the choice of growing steps."""

    reason = forms.CharField(
        label=_("Reason"),
        help_text=_("For the audit trail: what has happened, what was mended."),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
    )
    canary = forms.BooleanField(
        label=_("Go in growing steps"),
        help_text=_(
            "1, 2, 5, 20, 100 deliveries and so on; each step only after 95 % of the "
            "last one have succeeded. Else it stops and says why."
        ),
        initial=True,
        required=False,
    )


class ConfirmedActions(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list with the actions replay and discard."""

    def confirm(
        self,
        request: HttpRequest,
        verb: str,
        select: Callable[[], Sequence[Selection] | None],
    ) -> HttpResponse | None:
        """Answer with the page that asks, or do what was confirmed on it.

        ``select`` returns the selections, or None if it has told why there is none.
        """
        if "confirmed" in request.POST:
            return self._confirmed(request, verb)
        selections = select()
        if selections is None:
            return None
        now = timezone.now()
        fixed = [each if each.ids else replace(each, until=now) for each in selections]
        return self._ask(request, verb, fixed, ConfirmationForm())

    def _ask(
        self,
        request: HttpRequest,
        verb: str,
        selections: Sequence[Selection],
        form: ConfirmationForm,
    ) -> HttpResponse | None:
        number = sum(each.count(MAX_COUNTED, verb=verb) for each in selections)
        if not number:
            self.message_user(request, NOTHING_TO[verb], messages.WARNING)
            return None
        if verb != "replay" or number <= MANY:
            del form.fields["canary"]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": TITLES[verb],
            "number": counted(number),
            "effect": EFFECTS[verb],
            "button": BUTTONS[verb],
            "back": request.get_full_path(),
            "selections": [each.words() for each in selections],
            "receivers": _receivers(selections, verb) if number <= MAX_COUNTED else (),
            "form": form,
            "carried": _carried(request),
            "signed": _sign(verb, selections),
        }
        return TemplateResponse(request, TEMPLATE, context)

    def _confirmed(self, request: HttpRequest, verb: str) -> HttpResponse | None:
        selections = _signed(request.POST["confirmed"], verb)
        form = ConfirmationForm(request.POST)
        if not form.is_valid():
            return self._ask(request, verb, selections, form)
        for selection in selections:
            operation = _open(request, verb, selection, form.cleaned_data)
            log_operation(request, operation)
            self.message_user(request, _told(operation), messages.SUCCESS)
        return None


def _open(
    request: HttpRequest, verb: str, selection: Selection, wanted: Mapping[str, Any]
) -> Operation:
    """Have an operation change the selected deliveries; work a small one off here."""
    options: dict[str, Any] = {
        "by": request.user,
        "reason": wanted["reason"],
        "everything": True,
    }
    if verb == "replay":
        is_large = selection.count(MANY, verb=verb) > MANY
        options["canary"] = is_large and wanted.get("canary", True)
    operation = VERBS[verb](selection, **options)
    is_small = not operation.canary and selection.count(MANY, verb=verb) <= MANY
    return operation.work_off(WORK_SECONDS) if is_small else operation


def _told(operation: Operation) -> SafeString:
    page = reverse("admin:signal_tasks_operation_change", args=[operation.id])
    link = format_html('<a href="{}">{}</a>', page, _("See the operation."))
    if operation.is_open:
        return format_html("{} {}", _("Relays work it off."), link)
    changed = operation.done
    text = ngettext("%d delivery changed.", "%d deliveries changed.", changed) % changed
    return format_html("{} {}", text, link)


def _receivers(selections: Sequence[Selection], verb: str) -> list[tuple[str, int]]:
    """Return how many deliveries of each receiver it is about, most first."""
    counts: Counter[str] = Counter()
    for selection in selections:
        for database in outbox_aliases():
            rows = selection.rows_for(verb, database).order_by()
            counts.update(rows.values_list("receiver", flat=True)[:MAX_COUNTED])
    return counts.most_common(MAX_RECEIVERS)


def _carried(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the fields of the list's form, with which its action runs again."""
    ticked = [
        (ACTION_CHECKBOX_NAME, pk) for pk in request.POST.getlist(ACTION_CHECKBOX_NAME)
    ]
    names = ("action", "select_across")
    return [
        *((name, request.POST.get(name, "")) for name in names),
        ("index", "0"),
        *ticked,
    ]


def _sign(verb: str, selections: Sequence[Selection]) -> str:
    texts = [each.to_json() for each in selections]
    return dumps([verb, *texts], salt=SALT, compress=True)


def _signed(text: str, verb: str) -> list[Selection]:
    try:
        signed_verb, *texts = loads(text, salt=SALT)
    except BadSignature as error:
        raise SuspiciousOperation("This selection was not made here.") from error
    if signed_verb != verb:
        raise SuspiciousOperation("This selection is for another action.")
    return [Selection.from_json(each) for each in texts]
