"""Staff's pages for contact requests: who wants to hear from the owner, and the reply."""

from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from conversations import services
from conversations.filters import WIRES
from conversations.forms import WordsField
from conversations.models import ContactRequest
from conversations.staff import StaffAdmin, may_read, moment
from conversations.store import Refused, StoreError

EXCERPT = 90  # characters
REPLY = 5000
STATES = {"Received": "warning", "Owner notified": "info", "Replied": "success", "Closed": "default"}


class ReplyForm(forms.Form):
    """What the owner says to the visitor."""

    text = WordsField(
        label="Your reply",
        help_text="The visitor reads it at once if he is connected, else when he comes back.",
        max_length=REPLY,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5}),
    )
    uuid = forms.UUIDField(initial=uuid4, required=False, widget=forms.HiddenInput)  # sent twice, it is one reply


class ContactRequestAdmin(StaffAdmin):
    """Requests, to read, to reply to and to close; what was said is changed by nobody."""

    class Media:
        css = {"all": ("conversations/transcript.css",)}

    change_form_template = "admin/conversations/contactrequest/request.html"
    list_display = ("shown_message", "shown_state", "shown_origin", "pipeline", "shown_time")
    list_fullwidth = True
    list_filter = ("state", "pipeline", "escalated")
    list_select_related = ("pipeline", "message__session")
    search_fields = ("message__text",)
    search_help_text = "A request's UUID, or words of its message"
    actions = ("mark_replied", "close")

    # Who may not read what was said cannot search for words either: that would tell him by and by.

    def get_list_display(self, request: HttpRequest) -> Any:
        return [name for name in self.list_display if name != "shown_message" or may_read(request)]

    def get_search_fields(self, request: HttpRequest) -> Any:
        return self.search_fields if may_read(request) else ("uuid",)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        if not may_read(request):
            found.search_help_text = "A request's UUID"
        return found

    @admin.display(description="message")
    def shown_message(self, request: ContactRequest) -> SafeString:
        return format_html('<span class="excerpt">{}</span>', Truncator(request.message.text).chars(EXCERPT))

    @display(description="state", ordering="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, request: ContactRequest) -> str:
        return request.get_state_display()

    @admin.display(description="came by")
    def shown_origin(self, request: ContactRequest) -> str:
        wire = WIRES.get(request.message.session.wire, request.message.session.wire)
        return f"{wire}, in a chat" if request.escalated else wire

    @admin.display(description="received", ordering="created_at")
    def shown_time(self, request: ContactRequest) -> SafeString:
        return moment(request.created_at)

    # --- Actions ---------------------------------------------------------------------------------

    @admin.action(description="Mark as replied", permissions=["change"])
    def mark_replied(self, request: HttpRequest, chosen: QuerySet[ContactRequest]) -> None:
        self._move(request, chosen, services.mark_requests_replied, "marked as replied")

    @admin.action(description="Close", permissions=["change"])
    def close(self, request: HttpRequest, chosen: QuerySet[ContactRequest]) -> None:
        self._move(request, chosen, services.close_requests, "closed")

    def _move(
        self,
        request: HttpRequest,
        chosen: QuerySet[ContactRequest],
        move: Callable[[Collection[UUID]], int],
        done: str,
    ) -> None:
        rows = list(chosen)
        moved = move([row.uuid for row in rows])
        for row in rows:
            self.log_change(request, row, f"{done.capitalize()}.")
        messages.success(request, f"{moved} {'request' if moved == 1 else 'requests'} {done}.")

    # --- One request -----------------------------------------------------------------------------

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a request; a POST replies to it, marks it or closes it. No row is saved as a form."""
        if request.method != "POST":
            response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
            return response
        row = self.get_object(request, object_id)
        if not isinstance(row, ContactRequest) or not self.has_change_permission(request, row):
            raise Http404
        chosen = ContactRequest.objects.filter(pk=row.pk)
        match request.POST.get("do"):
            case "reply":
                refused = self._reply(request, row)
                if refused is not None:
                    request.method = "GET"  # the page again, with what was written
                    again: HttpResponse = super().change_view(request, object_id, form_url, {"reply": refused})
                    return again
            case "replied":
                self.mark_replied(request, chosen)
            case "close":
                self.close(request, chosen)
        return redirect(reverse("admin:conversations_contactrequest_change", args=[row.uuid]))

    def _reply(self, request: HttpRequest, row: ContactRequest) -> ReplyForm | None:
        """Say what the form holds; return the form where it was not said."""
        form = ReplyForm(request.POST)
        if row.state == ContactRequest.State.CLOSED:
            messages.error(request, "The request is closed.")
            return form
        if not form.is_valid():
            messages.error(request, " ".join(str(fault) for faults in form.errors.values() for fault in faults))
            return form
        assert request.user.is_authenticated  # the admin lets nobody else in
        name = request.user.get_full_name() or request.user.get_username()
        try:
            services.reply_as_owner(
                row.message.session.uuid,
                form.cleaned_data["text"],
                name=name,
                contacts=(row.uuid,),
                operator=request.user.pk,
                seconds=settings.HOLD_IDLE,
                uuid=form.cleaned_data["uuid"],
            )
        except (Refused, StoreError) as error:
            messages.error(request, str(error))
            return form
        self.log_change(request, row, "Replied.")
        messages.success(request, "Your reply was sent to the visitor.")
        return None

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        *args: Any,
        obj: ContactRequest | None = None,
        **kwargs: Any,
    ) -> HttpResponse:
        assert obj is not None  # requests are not added here
        context |= {
            "contact": obj,
            "session": obj.message.session,
            "origin": self.shown_origin(obj),
            "may_reply": self.has_change_permission(request, obj) and obj.state != ContactRequest.State.CLOSED,
            "may_read": may_read(request),
            "reply": context.get("reply") or ReplyForm(),
            "unvalidated": {"formnovalidate": True},
        }
        response: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)
        return response

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ()  # the page shows the request, not the row

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
