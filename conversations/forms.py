"""Forms of the pages for pipelines and documents."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from conversations import contacts, drafts, matching
from conversations.models import Document, Pipeline, Route


class WordsField(forms.CharField):
    """What somebody says; a line ends with one character, as it does on the wires, not with a browser's two."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class RouteForm(forms.ModelForm):  # type: ignore[type-arg]  # generic to mypy only
    """A route; it says what a route of its kind still needs."""

    class Meta:
        model = Route
        fields = (
            "kind", "enabled", "position", "match", "pattern", "service", "timeout", "recall", "vision", "model",
            "system_prompt",
        )  # fmt: skip
        labels = {
            "kind": "Answered by",
            "match": "For",
            "pattern": "Words or pattern",
            "service": "Client ID",
            "timeout": "Seconds to answer",
            "recall": "Give the model matching passages of the documents",
            "vision": "The model takes images",
            "system_prompt": "Instructions",
        }
        help_texts = {
            "enabled": "",
            "position": "Lower ones are tried first; the first that can answer does.",
            "match": "Other questions go to the next route.",
            "pattern": "Words are separated by commas, and one of them is enough; a beginning or a regular expression "
            "is taken as it stands. Upper and lower case are the same.",
            "service": "The client on the hub that is asked, such as /service/zhycit/weather_1.",
            "timeout": "Until it begins, and between two parts. One that does not begin, or is not connected, "
            "leaves it to the next route.",
            "recall": "",
            "vision": "Pictures that a visitor sends are shown to it, made small.",
            "model": "Empty: OPENAI_MODEL of the environment.",
            "system_prompt": "What the model is told before the conversation. Empty: the built-in words.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        timeout = self.fields["timeout"]
        assert isinstance(timeout, forms.IntegerField)
        timeout.widget.attrs["min"] = 1

    def clean_timeout(self) -> int:
        timeout: int = self.cleaned_data["timeout"]
        if timeout < 1:
            raise forms.ValidationError("A service needs a second at least.")
        return timeout

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("kind") == Route.Kind.SERVICE and not cleaned.get("service"):
            self.add_error("service", "Say which client of the hub is asked.")
        if "pattern" in cleaned and (problem := _problem(cleaned.get("match"), cleaned["pattern"])):
            self.add_error("pattern", problem)
        return cleaned


def _problem(match: Any, pattern: str) -> str:
    """Return what is wrong with a route's pattern, as a sentence, or nothing."""
    if match == Route.Match.REGEX and (problem := matching.problem_with(pattern)):
        return f"This {problem}."
    if match == Route.Match.CONTAINS and not matching.words(pattern):
        return "Name at least one word."
    if match in {Route.Match.PREFIX, Route.Match.REGEX} and not pattern:
        return "Say which questions this route is for."
    return ""


class PipelineForm(forms.ModelForm):  # type: ignore[type-arg]  # generic to mypy only
    """A pipeline; its owner's addresses are addresses, and there is always a default."""

    class Meta:
        model = Pipeline
        fields = ("owner_email", "webhook_url")  # the page says what else is on it
        help_texts = {
            "webhook_url": "Is told of contact requests too, by a signed POST. At a private address: only with "
            "ALLOW_PRIVATE_UPSTREAMS.",
        }

    def clean_is_default(self) -> bool:
        is_default: bool = self.cleaned_data["is_default"]
        if self.instance.is_default and not is_default:
            raise forms.ValidationError("Make another pipeline the default instead: some wires know no other.")
        return is_default

    def _get_validation_exclusions(self) -> set[str]:
        # Saved, a new default takes the place of the old one: their constraint is not for the form.
        return {*super()._get_validation_exclusions(), "is_default"}  # type: ignore[misc]  # Django's, and untyped

    def clean_owner_email(self) -> str:
        text: str = self.cleaned_data["owner_email"]
        entries = [entry for entry in text.split(",") if entry.strip()]
        if len(contacts.addresses(text)) < len(entries):
            raise forms.ValidationError("Write e-mail addresses, separated by commas.")
        return text


class DocumentForm(forms.ModelForm):  # type: ignore[type-arg]  # generic to mypy only
    """A document; its text is kept to the letter, with the line ends that files have."""

    text = forms.CharField(strip=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 24}))

    class Meta:
        model = Document
        fields = ("pipeline", "space", "title", "url", "text")

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"].replace("\r\n", "\n")
        if not text.strip():
            raise forms.ValidationError("A document needs a text.")
        if len(text.encode()) > drafts.MAX_DOCUMENT_BYTES:
            raise forms.ValidationError(f"At most {drafts.MAX_DOCUMENT_BYTES} bytes.")
        return text
