"""The desk: the queue of conversations, one of them, and what an operator does in it."""

from collections.abc import Callable, Iterable
from typing import Any, get_args
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from chatgateway.desk.files import words_about_files
from chatgateway.desk.guard import for_operators, operator_of
from chatgateway.desk.reach import carries, chips_of, reach_of
from connections.forms import WIRES
from connections.selectors import present_in
from conversations import desk as conversations
from conversations import services
from conversations.forms import WordsField
from conversations.store import OutcomeUnknown, Refused, StoreError
from conversations.uploads.shelf import is_key
from integrations.capabilities import CAPABILITIES, Capabilities
from integrations.langbot.attachments import ATTACHMENTS

TEXT = 5000  # characters that an operator may say at once
WORDS = 100  # of a search
QUEUE = 60  # conversations that are listed
TAKE_FROM_OTHERS = "conversations.change_chatsession"  # who is away must not block a visitor for ever
UNKNOWN = "It is not known whether that was done. Please do it again: what you write is said once."
TABS: tuple[tuple[conversations.Which, str], ...] = (
    ("open", "Open"),
    ("waiting", "Waiting"),
    ("mine", "Mine"),
    ("done", "Done"),
)


# --- Looking -------------------------------------------------------------------------------------


@for_operators
@require_GET
def desk(request: HttpRequest, session: UUID | None = None) -> HttpResponse:
    """Show the queue and, where a session is named, its conversation."""
    context = {**admin.site.each_context(request), "title": "Desk", "is_fullwidth": "1", **_queue(request)}
    if session is not None:
        context |= _conversation(request, session)
        context["about_files"] = {"strings": words_about_files(), "largest": settings.MAX_UPLOAD_BYTES}
    return render(request, "desk/desk.html", context)


@for_operators
@require_GET
def queue(request: HttpRequest) -> HttpResponse:
    """Return the queue alone, as it is now."""
    return render(request, "desk/queue.html", _queue(request))


@for_operators
@require_GET
def view(request: HttpRequest, session: UUID) -> HttpResponse:
    """Return a conversation alone, as it is now."""
    return render(request, "desk/view.html", _conversation(request, session))


@for_operators
@require_GET
def canned(request: HttpRequest) -> HttpResponse:
    """Return the canned replies, which are fetched when they are looked for."""
    return render(request, "desk/canned.html", {"canned": conversations.canned_replies()})


def _queue(request: HttpRequest) -> dict[str, Any]:
    asked = _asked(request)
    operator = operator_of(request)
    counts = conversations.counts(operator.pk)
    return {
        **asked,
        "tabs": [(name, title, getattr(counts, name, 0)) for name, title in TABS],
        "counts": counts,
        "queue": conversations.queue(asked["which"], operator.pk, words=asked["words"], limit=QUEUE),
        "longest": QUEUE,
        "wires": WIRES,
        "chosen": request.GET.get("chosen", ""),
    }


def _asked(request: HttpRequest) -> dict[str, Any]:
    """Return which conversations are asked for, and the query that asks so."""
    asked = request.GET.get("which", "open")
    which: conversations.Which = next((name for name in get_args(conversations.Which) if name == asked), "open")
    words = request.GET.get("q", "").replace("\0", "")[:WORDS].strip()
    query = urlencode({"which": which, "q": words} if words else {"which": which})
    return {"which": which, "words": words, "query": query}


def _conversation(request: HttpRequest, session: UUID) -> dict[str, Any]:
    before = request.GET.get("before", "")
    opened = conversations.open_conversation(
        session, operator_of(request).pk, int(before) if _is_place(before) else None
    )
    if opened is None:
        raise Http404
    found = opened.conversation
    can = CAPABILITIES.get(found.wire, Capabilities())
    requests = conversations.requests(session)
    return {
        **_asked(request),
        "conversation": found,
        "may_take_over": request.user.has_perm(TAKE_FROM_OTHERS),
        "chosen": str(session),
        "transcript": opened.transcript,
        "requests": requests,
        "open_requests": len(_open(requests)),
        "present": present_in(session, found.wire, found.name),
        "wire": WIRES.get(found.wire, found.wire),
        "reach": reach_of(can),
        "carries": carries(can),
        "files": "shown" if can.files else "links" if settings.PUBLIC_URL else "names",
        "chips": chips_of(can),
    }


def _open(requests: Iterable[conversations.RequestView]) -> tuple[UUID, ...]:
    return tuple(found.uuid for found in requests if found.is_open)


def _is_place(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


# --- Doing ---------------------------------------------------------------------------------------


class Words(forms.Form):
    """What an operator notes."""

    text = WordsField(
        max_length=TEXT,
        error_messages={
            "required": "There is nothing to send.",
            "max_length": f"At most {TEXT} characters can be sent at once.",
        },
    )
    uuid = forms.UUIDField(required=False)


class Reply(Words):
    """What an operator says: words, files by their keys, or both."""

    text = WordsField(max_length=TEXT, required=False, error_messages=Words.base_fields["text"].error_messages)

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        data: Any = self.data
        keys = tuple(dict.fromkeys(data.getlist("upload")))
        if len(keys) > ATTACHMENTS:
            raise forms.ValidationError(f"At most {ATTACHMENTS} files go with one message.")
        if not all(map(is_key, keys)):
            raise forms.ValidationError("An attached file is not there any more, please send it again.")
        if not keys and "text" in found and not found["text"]:
            raise forms.ValidationError(self.fields["text"].error_messages["required"])
        return {**found, "uploads": keys}


@for_operators
@require_POST
def act(request: HttpRequest, session: UUID, deed: str) -> HttpResponse:
    """Do what the operator asked for; answer with an empty 204, or `{"error": …}` and 409."""
    do = _DEEDS.get(deed)
    if do is None:
        raise Http404
    try:
        do(request, session)
    except forms.ValidationError as error:
        return JsonResponse({"error": " ".join(error.messages)}, status=409)
    except OutcomeUnknown:
        return JsonResponse({"error": UNKNOWN}, status=409)
    except (Refused, StoreError) as error:
        return JsonResponse({"error": str(error)}, status=409)
    return HttpResponse(status=204)


def _take(request: HttpRequest, session: UUID) -> None:
    operator = operator_of(request)
    over = bool(request.POST.get("over")) and operator.has_perm(TAKE_FROM_OTHERS)
    services.take_over(session, operator.pk, _name(operator), seconds=settings.HOLD_IDLE, over=over)


def _back(request: HttpRequest, session: UUID) -> None:
    services.hand_back(session, operator_of(request).pk)


def _reply(request: HttpRequest, session: UUID) -> None:
    operator = operator_of(request)
    words = _words(Reply(request.POST))
    services.reply_as_owner(
        session,
        words["text"],
        name=_name(operator),
        contacts=_open(conversations.requests(session)),
        operator=operator.pk,
        seconds=settings.HOLD_IDLE,
        uuid=words["uuid"],
        uploads=words["uploads"],
    )


def _note(request: HttpRequest, session: UUID) -> None:
    words = _words(Words(request.POST))
    services.add_note(session, _name(operator_of(request)), words["text"], uuid=words["uuid"])


def _done(request: HttpRequest, session: UUID) -> None:
    services.mark_done(session, operator_of(request).pk)


def _close_request(request: HttpRequest, session: UUID) -> None:
    services.close_requests([_request_of(session, request.POST.get("contact", ""))])


def _retry(request: HttpRequest, session: UUID) -> None:
    entry = request.POST.get("delivery", "")
    if not _is_place(entry) or not services.retry_delivery(int(entry), session):
        raise forms.ValidationError("It has arrived already.")


_DEEDS: dict[str, Callable[[HttpRequest, UUID], None]] = {
    "take": _take,
    "back": _back,
    "reply": _reply,
    "note": _note,
    "done": _done,
    "close-request": _close_request,
    "retry": _retry,
}


def _words(form: Words) -> dict[str, Any]:
    if not form.is_valid():
        raise forms.ValidationError([fault for faults in form.errors.values() for fault in faults])
    return form.cleaned_data


def _request_of(session: UUID, uuid: str) -> UUID:
    """Return the contact request of that UUID, if it is this session's."""
    for found in conversations.requests(session):
        if str(found.uuid) == uuid:
            return found.uuid
    raise forms.ValidationError("There is no such contact request.")


def _name(operator: User) -> str:
    return operator.get_full_name() or operator.get_username()
