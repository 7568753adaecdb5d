"""What a broadcast says, and to whom."""

from typing import Any
from uuid import UUID

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from connections.forms import WIRES, pipeline_choices
from integrations import broadcasting
from integrations.broadcasting import Audience

TEXT = 2000  # characters of a broadcast
SESSION_TYPES = {"": "Persons and group rooms", "person": "Persons", "group": "Group rooms"}
UNABLE = "cannot broadcast"


class WireSelect(UnfoldAdminSelectWidget):  # type: ignore[misc]  # unfold ships no types
    """The wires; those that cannot broadcast are there to be seen, not to be chosen."""

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)
        option["attrs"]["disabled"] = bool(value) and value not in broadcasting.WIRES
        return option


class BroadcastForm(forms.Form):
    """Words and their audience."""

    text = forms.CharField(
        max_length=TEXT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="Shown to everybody who is connected now, and kept nowhere: who connects later does not see it.",
    )
    pipeline = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    session_type = forms.ChoiceField(
        label="Sessions", required=False, choices=list(SESSION_TYPES.items()), widget=UnfoldAdminSelectWidget
    )
    wire = forms.ChoiceField(required=False, widget=WireSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pipelines = dict(pipeline_choices())
        able = ", ".join(WIRES[wire] for wire in broadcasting.WIRES)
        self.fields["pipeline"].choices = [("", "All pipelines"), *self._pipelines.items()]  # type: ignore[attr-defined]
        self.fields["wire"].choices = [  # type: ignore[attr-defined]  # both are ChoiceFields, as above
            ("", f"All wires that can: {able}"),
            *((wire, name if wire in broadcasting.WIRES else f"{name}: {UNABLE}") for wire, name in WIRES.items()),
        ]

    def clean_wire(self) -> str:
        """Return the wire; one that cannot broadcast is refused."""
        wire: str = self.cleaned_data["wire"]
        if wire and wire not in broadcasting.WIRES:
            raise forms.ValidationError(f"{WIRES[wire]} {UNABLE}.")
        return wire

    def audience(self) -> Audience:
        """Return whom it is for, once the form is valid."""
        pipeline, kind, wire = (self.cleaned_data[name] for name in ("pipeline", "session_type", "wire"))
        chosen = [pipeline] if pipeline else self._pipelines
        kinds = (kind,) if kind else broadcasting.SESSION_TYPES
        return Audience(tuple(map(UUID, chosen)), kinds, wire)

    def audience_in_words(self) -> str:
        """Return whom it is for, as staff reads it."""
        return " · ".join(
            (
                self._pipelines.get(self.cleaned_data["pipeline"], "All pipelines"),
                SESSION_TYPES[self.cleaned_data["session_type"]],
                dict(self.fields["wire"].choices)[self.cleaned_data["wire"]],  # type: ignore[attr-defined]
            )
        )
