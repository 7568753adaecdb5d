"""Forms of the Access pages."""

from datetime import timedelta
from typing import Any

from django import forms
from django.apps import apps
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from connections.auth import Scope
from connections.jobs import LONGEST_REASON
from connections.models import Application
from connections.services import DEFAULT_SCOPES, normal_origins

WIRES = {
    "langbot": "Pipeline",
    "postoffice": "PostOffice",
    "contact": "Blog contact",
    "yishiting": "易事厅",
    "wechat": "WeChat",
}
REASON_FITS = f"At most {LONGEST_REASON} bytes, which are {LONGEST_REASON // 3} characters in Chinese."
LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "No end"}
SCOPE_LABELS = {
    Scope.READ: "read: history and connections",
    Scope.WRITE: "write: chat, reset its own sessions",
    Scope.BROADCAST: "broadcast: to every socket of a pipeline",
    Scope.ADMIN: "admin: everything, over all sessions",
}


def pipeline_choices() -> list[tuple[str, str]]:
    """Return every pipeline's UUID and name."""
    # The other app's table, asked by name: the two do not know each other.
    pipelines = apps.get_model("conversations", "Pipeline").objects.order_by("name")
    return [(str(uuid), name) for uuid, name in pipelines.values_list("uuid", "name")]


class OriginsField(forms.CharField):
    """Browser origins, one per line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        try:
            return normal_origins((super().to_python(value) or "").split())
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        return sorted(initial or []) != sorted((data or "").split())


class LinesField(forms.CharField):
    """Texts, one per line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = (line.strip() for line in (super().to_python(value) or "").splitlines())
        return sorted({line for line in lines if line})

    def has_changed(self, initial: Any, data: Any) -> bool:
        lines: list[str] = self.to_python(data)
        return sorted(initial or []) != lines


class ApplicationForm(forms.ModelForm):  # type: ignore[type-arg]  # generic to mypy only
    """An application, its pipeline chosen by name."""

    pipeline = forms.TypedChoiceField(
        required=False,
        empty_value=None,
        widget=UnfoldAdminSelectWidget,
        help_text="Its tokens work on this pipeline only.",
    )
    origins = OriginsField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Web pages that may use its tokens, one a line, such as https://example.com.",
    )

    wires = forms.MultipleChoiceField(
        required=False,
        choices=list(WIRES.items()),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Its tokens work on these wires only; none chosen: on all.",
    )
    client_prefixes = LinesField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="What its client IDs on the hub must begin with, one a line, such as /service/zhycit/; only "
        "applications with such a line may use them then. None: any ID that is not another application's.",
    )

    class Meta:
        model = Application
        fields = ("name", "pipeline", "wires", "client_prefixes", "callback_url", "origins", "enabled")
        help_texts = {
            "callback_url": "Where answers to /chat/async are posted, signed. At a private address: only with "
            "ALLOW_PRIVATE_UPSTREAMS.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", "Any pipeline"), *pipeline_choices()]
        bound = self.instance.pipeline
        if bound is not None and str(bound) not in dict(choices):
            choices.append((str(bound), f"{bound} (gone)"))
        self.fields["pipeline"].choices = choices  # type: ignore[attr-defined]  # a ChoiceField, as above


class CloseForm(forms.Form):
    """How connections are closed by staff."""

    reason = forms.CharField(
        initial="closed by the operator",
        widget=UnfoldAdminTextInputWidget(attrs={"maxlength": LONGEST_REASON}),
        help_text="The client is told so: in the close frame, or as the last words of an answer that is streamed. "
        + REASON_FITS,
    )
    code = forms.TypedChoiceField(
        label="May it come back?",
        choices=[("1013", "Yes, in a while (1013)"), ("4003", "No, it is not wanted (4003)")],
        coerce=int,
        widget=UnfoldAdminSelectWidget,
    )

    def clean_reason(self) -> str:
        """Return the reason; one that a close frame cannot carry is refused."""
        reason: str = self.cleaned_data["reason"]
        if len(reason.encode()) > LONGEST_REASON:
            raise forms.ValidationError(REASON_FITS)
        return reason


class TokenForm(forms.Form):
    """What a new token is for."""

    label = forms.CharField(
        max_length=100, required=False, widget=UnfoldAdminTextInputWidget, help_text="Where it will be used."
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope.value, SCOPE_LABELS[scope]) for scope in Scope],
        initial=sorted(scope.value for scope in DEFAULT_SCOPES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    lifetime = forms.ChoiceField(
        choices=list(LIFETIMES.items()), initial="365", required=False, widget=UnfoldAdminSelectWidget
    )

    def chosen_scopes(self) -> list[Scope]:
        return [Scope(value) for value in self.cleaned_data["scopes"]]

    def ttl(self) -> timedelta | None:
        days: str = self.cleaned_data["lifetime"]
        return timedelta(days=int(days)) if days else None
