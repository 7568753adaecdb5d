"""Staff's pages for pipelines, documents and what was said."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import models, transaction
from django.db.models import Count, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from unfold.admin import StackedInline
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from conversations import services
from conversations.contact_admin import ContactRequestAdmin
from conversations.filters import WIRES, FeedbackFilter, LanguageFilter, WireFilter
from conversations.forms import DocumentForm, PipelineForm, RouteForm
from conversations.models import CannedReply, ChatSession, ContactRequest, Document, Feedback, Message, Pipeline, Route
from conversations.staff import StaffAdmin, link, may_read, moment
from conversations.transcript import read_transcript

EXCERPT = 90  # characters
PATTERN_SHOWN = 20  # characters
SEQ_DIGITS = 18  # what a database's integer holds
NO_ROUTE = "{name} answers nothing: it has no route that is enabled. Whoever asks reads its failure text."


OPINIONS = (
    '<span class="opinion" title="{0} {1}">'
    '<span class="material-symbols-outlined" role="img" aria-label="{1}">{2}</span>{0}</span>'
)
SHORT_TEXT = {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})}


class RouteInline(StackedInline):  # type: ignore[misc]  # unfold ships no types
    class Media:
        css = {"all": ("conversations/routes.css",)}

    model = Route
    form = RouteForm
    extra = 0
    fieldsets = (
        (None, {"fields": (("position", "enabled"), "kind", "match", "pattern")}),
        ("Service", {"fields": (("service", "timeout"),), "classes": ("for-service",)}),
        ("Language model", {"fields": (("recall", "vision"), "model", "system_prompt"), "classes": ("for-model",)}),
    )
    ordering = ("position", "id")
    verbose_name_plural = "routes, tried in order"
    formfield_overrides = {**StackedInline.formfield_overrides, models.TextField: SHORT_TEXT}


@admin.register(Pipeline)
class PipelineAdmin(StaffAdmin):
    change_form_after_template = "admin/signing_key.html"
    form = PipelineForm
    list_display = ("name", "shown_default", "shown_routes", "shown_documents", "public", "uuid")
    formfield_overrides = {models.TextField: SHORT_TEXT}
    search_fields = ("name",)
    readonly_fields = ("uuid", "shown_documents", "shown_sessions", "created_at", "updated_at")
    inlines = (RouteInline,)
    fieldsets = (
        (None, {"fields": ("name", "description", ("is_default", "public"))}),
        ("Answers", {"fields": ("failure_text", ("group_reply", "group_prefix"))}),
        ("Contact requests", {"fields": ("owner_email", "webhook_url")}),
        ("Contents", {"fields": (("shown_documents", "shown_sessions"), "uuid", ("created_at", "updated_at"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        documents = (
            Document.objects.filter(pipeline=OuterRef("pk")).order_by().values("pipeline").annotate(n=Count("pk"))
        )
        found: QuerySet[Pipeline] = super().get_queryset(request)
        return found.annotate(document_count=Subquery(documents.values("n"))).prefetch_related("routes")

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:3]

    @display(description="default", label={"default": "success"})  # type: ignore[untyped-decorator]
    def shown_default(self, pipeline: Pipeline) -> str:
        return "default" if pipeline.is_default else ""

    @admin.display(description="routes")
    def shown_routes(self, pipeline: Pipeline) -> str:
        routes = [route for route in pipeline.routes.all() if route.enabled]
        return " → ".join(_route(route) for route in routes) or "none"

    @admin.display(description="documents", ordering="document_count")
    def shown_documents(self, pipeline: Pipeline) -> SafeString:
        count = getattr(pipeline, "document_count", None) or 0
        url = reverse("admin:conversations_document_changelist")
        return link(f"{url}?pipeline__id__exact={pipeline.pk}", f"{count} document{'' if count == 1 else 's'}")

    @admin.display(description="sessions")
    def shown_sessions(self, pipeline: Pipeline) -> SafeString:
        url = reverse("admin:conversations_chatsession_changelist")
        return link(f"{url}?pipeline__id__exact={pipeline.pk}", "Show the sessions")

    def save_model(self, request: HttpRequest, obj: Pipeline, form: Any, change: bool) -> None:
        with transaction.atomic():
            if obj.is_default:
                Pipeline.objects.filter(is_default=True).exclude(pk=obj.pk).update(is_default=False)
            super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if not form.instance.routes.filter(enabled=True).exists():
            messages.warning(request, NO_ROUTE.format(name=form.instance.name))

    def has_delete_permission(self, request: HttpRequest, obj: Pipeline | None = None) -> bool:
        if obj is not None and obj.is_default:
            return False
        return bool(super().has_delete_permission(request, obj))

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Count instead of listing every row below; a pipeline that people talked to stays."""
        ids = [pipeline.pk for pipeline in objs]
        talked_to = Pipeline.objects.filter(pk__in=ids, sessions__isnull=False).distinct()
        kept = {*talked_to, *Pipeline.objects.filter(pk__in=ids, is_default=True)}
        counts = {
            "pipelines": len(ids),
            "routes": Route.objects.filter(pipeline__in=ids).count(),
            "documents": Document.objects.filter(pipeline__in=ids).count(),
        }
        protected = [f"{pipeline}: it is the default, or has sessions" for pipeline in kept]
        return [str(pipeline) for pipeline in objs], counts, set(), protected


@admin.register(Document)
class DocumentAdmin(StaffAdmin):
    form = DocumentForm
    list_display = ("title", "pipeline", "space", "shown_source", "updated_at")
    list_filter = ("pipeline",)
    list_select_related = ("pipeline",)
    search_fields = ("title", "space", "path", "url")
    readonly_fields = ("shown_source", "uuid", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("title", ("pipeline", "space"), "url", "text")}),
        (
            "Origin",
            {
                "fields": ("shown_source", "uuid", ("created_at", "updated_at")),
                "description": "A document from a folder takes the file's text again when the folder is next loaded.",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        found: QuerySet[Document] = super().get_queryset(request)
        match = request.resolver_match
        listed = match is not None and match.url_name == "conversations_document_changelist"
        return found.defer("text") if listed else found

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:1]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        # A document belongs to the index of one pipeline; to move it is to delete it there and to enter it here.
        return (*self.readonly_fields, "pipeline") if obj else self.readonly_fields

    @admin.display(description="source")
    def shown_source(self, document: Document) -> str:
        return document.path or "entered here"

    def save_model(self, request: HttpRequest, obj: Document, form: Any, change: bool) -> None:
        obj.uuid = services.save_document(
            obj.pipeline.uuid,
            title=obj.title,
            text=obj.text,
            space=obj.space,
            url=obj.url,
            document=obj.uuid if change else None,
        )
        obj.pk = Document.objects.values_list("pk", flat=True).get(uuid=obj.uuid)

    def delete_model(self, request: HttpRequest, obj: Document) -> None:
        services.delete_documents(obj.pipeline.uuid, [obj.uuid])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        chosen: dict[UUID, list[UUID]] = {}
        for pipeline, document in queryset.order_by().values_list("pipeline__uuid", "uuid"):
            chosen.setdefault(pipeline, []).append(document)
        for pipeline, documents in chosen.items():
            services.delete_documents(pipeline, documents)


@admin.register(ChatSession)
class ChatSessionAdmin(StaffAdmin):
    """Sessions, to read: what was said is changed by nobody."""

    class Media:
        css = {"all": ("conversations/transcript.css",)}

    change_form_template = "admin/conversations/chatsession/transcript.html"
    list_display = (
        "shown_session", "shown_last", "messages", "shown_feedback", "shown_type", "shown_wire", "shown_language",
        "pipeline", "shown_time",
    )  # fmt: skip
    list_fullwidth = True
    list_display_links = ("shown_session",)
    list_filter = ("pipeline", "session_type", WireFilter, LanguageFilter, FeedbackFilter)
    list_select_related = ("pipeline",)
    search_fields = ("name",)
    search_help_text = "A session's UUID, or a part of a room's name"
    ordering = ("-last_message_at",)

    def get_list_display(self, request: HttpRequest) -> Any:
        return [name for name in self.list_display if name != "shown_last" or may_read(request)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatSession]:
        found: QuerySet[ChatSession] = super().get_queryset(request)
        found = found.annotate(ups=_feedback(Feedback.Value.UP), downs=_feedback(Feedback.Value.DOWN))
        if not may_read(request):
            return found
        last = Message.objects.filter(session=OuterRef("pk"), seq=OuterRef("last_seq")).annotate(
            start=Left("text", EXCERPT + 1)
        )
        return found.annotate(last_text=Subquery(last.values("start")))

    @admin.display(description="session")
    def shown_session(self, session: ChatSession) -> str:
        return session.name or f"{str(session.uuid)[:8]}…"

    @display(description="type", ordering="session_type", label={"Person": "info", "Group": "primary"})  # type: ignore[untyped-decorator]
    def shown_type(self, session: ChatSession) -> str:
        return session.get_session_type_display()

    @admin.display(description="wire", ordering="wire")
    def shown_wire(self, session: ChatSession) -> str:
        return WIRES.get(session.wire, session.wire)

    @admin.display(description="language", ordering="language")
    def shown_language(self, session: ChatSession) -> str:
        return "English" if session.language == "en" else "中文"

    @admin.display(description="messages", ordering="last_seq")
    def messages(self, session: ChatSession) -> int:
        # `seq` is gap-free, so the last one is the number of messages.
        return session.last_seq

    @admin.display(description="rated")
    def shown_feedback(self, session: ChatSession) -> SafeString:
        given = (
            ("thumb_up", "helpful", _count(session, "ups")),
            ("thumb_down", "not helpful", _count(session, "downs")),
        )
        return format_html_join(" ", OPINIONS, ((count, words, icon) for icon, words, count in given if count))

    @admin.display(description="last words")
    def shown_last(self, session: ChatSession) -> SafeString:
        text = Truncator(getattr(session, "last_text", None) or "").chars(EXCERPT)
        return format_html('<span class="excerpt">{}</span>', text)

    @admin.display(description="last message", ordering="last_message_at")
    def shown_time(self, session: ChatSession) -> SafeString:
        return moment(session.last_message_at)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ChatSession | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ChatSession | None = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ()  # the page shows the transcript, not the row

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: ChatSession | None = None, **kwargs: Any
    ) -> HttpResponse:
        assert obj is not None  # sessions are not added here
        before = request.GET.get("before", "")
        page = int(before) if before.isdecimal() and len(before) <= SEQ_DIGITS else None
        transcript = read_transcript(obj, page) if may_read(request) else None
        context |= {"session": obj, "wire": self.shown_wire(obj), "transcript": transcript}
        response: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)
        return response


@admin.register(CannedReply)
class CannedReplyAdmin(StaffAdmin):
    list_display = ("title", "shown_text", "shown_time")
    search_fields = ("title", "text")
    fields = ("title", "text")

    @admin.display(description="text")
    def shown_text(self, reply: CannedReply) -> str:
        return Truncator(reply.text).chars(EXCERPT)

    @admin.display(description="changed", ordering="updated_at")
    def shown_time(self, reply: CannedReply) -> SafeString:
        return moment(reply.updated_at)


def _feedback(value: Feedback.Value) -> Subquery:
    """Return how often the visitor thought so of an answer of a session."""
    given = Feedback.objects.filter(session=OuterRef("pk"), value=value).order_by().values("session")
    return Subquery(given.annotate(count=Count("pk")).values("count"))


def _count(session: ChatSession, name: str) -> int:
    return getattr(session, name, None) or 0


def _route(route: Route) -> str:
    kind = route.get_kind_display()
    return kind if route.match == Route.Match.ALWAYS else f"{kind} ({Truncator(route.pattern).chars(PATTERN_SHOWN)})"


admin.site.register(ContactRequest, ContactRequestAdmin)
