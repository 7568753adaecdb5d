"""The page on which staff tells something to everybody who is connected."""

from django.contrib import admin, messages
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from chatgateway.announcing import announce_to
from chatgateway.broadcast.forms import BroadcastForm
from connections.audit import Action, record
from connections.staff import actor

PERMISSION = "connections.broadcast_message"


@admin.site.admin_view
@permission_required(PERMISSION, raise_exception=True)
def broadcast(request: HttpRequest) -> HttpResponse:
    """Ask for words and audience, show how many it reaches, and send once that is confirmed."""
    form = BroadcastForm(request.POST or None)
    context = {**admin.site.each_context(request), "title": "Broadcast", "form": form}
    step = request.POST.get("step")
    if step is None or step == "change" or not form.is_valid():
        return render(request, "broadcast/write.html", context)
    reached = _count(form.audience().count())
    if step == "send":
        return _send(request, form, reached)
    context |= {"audience": form.audience_in_words(), "reached": reached}
    return render(request, "broadcast/confirm.html", context)


def _send(request: HttpRequest, form: BroadcastForm, reached: str) -> HttpResponse:
    audience, by = form.audience(), actor(request)
    # Recorded first: what cannot be recorded is not done.
    subject = form.audience_in_words()
    record(Action.BROADCAST, actor=by.name, user=by.user, subject=subject, details=f"to {reached}")
    if announce_to(audience.topics, audience.words(form.cleaned_data["text"])):
        messages.success(request, f"Sent to {reached}.")
    else:
        record(Action.BROADCAST, actor=by.name, user=by.user, subject=subject, details="failed; some may have seen it")
        messages.error(request, "It may have reached some or nobody: the channel between the workers does not answer.")
    return redirect("broadcast")


def _count(number: int) -> str:
    return f"{number:,} live connection{'' if number == 1 else 's'}"
