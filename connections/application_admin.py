"""Staff's pages for who may be here: applications and their tokens."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.admin import TabularInline
from unfold.decorators import action, display

from connections import services
from connections.closing_admin import close_connections_of
from connections.forms import ApplicationForm, TokenForm
from connections.models import AccessToken, Application
from connections.staff import STATES, StaffAdmin, actor, pipeline_name


def token_state(token: AccessToken) -> str:
    """Tell whether a token is active, expired or revoked."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= timezone.now():
        return "expired"
    return "active"


class TokenInline(TabularInline):  # type: ignore[misc]  # unfold ships no types
    """An application's tokens, on its page."""

    model = AccessToken
    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = True
    verbose_name_plural = "tokens"
    fields = readonly_fields = ("shown_scopes", "shown_state", "created_at", "expires_at")

    @admin.display(description="scopes")
    def shown_scopes(self, token: AccessToken) -> str:
        return ", ".join(token.scopes)

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, token: AccessToken) -> str:
        return token_state(token)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ApplicationAdmin(StaffAdmin):
    """Applications; a secret is shown once, when it is made."""

    change_form_after_template = "admin/signing_key.html"
    form = ApplicationForm
    list_display = ("name", "appid", "shown_pipeline", "enabled", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name", "appid")
    readonly_fields = ("appid", "uuid", "created_at")
    actions = ("close_connections_of",)
    actions_detail = ("issue_token", "close_its_connections")
    fieldsets = (
        (None, {"fields": (("name", "pipeline"), "enabled", "origins")}),
        ("Where its tokens work", {"fields": ("wires", "client_prefixes")}),
        ("Callbacks", {"fields": ("callback_url",)}),
        ("Identity", {"fields": (("appid", "uuid"), "created_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Application]:
        found: QuerySet[Application] = super().get_queryset(request)
        return found.defer("secret_hash").annotate(pipeline_name=pipeline_name())

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.fieldsets[:3]

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> Sequence[Any]:
        return (TokenInline,) if obj else ()

    @admin.display(description="pipeline")
    def shown_pipeline(self, application: Application) -> str:
        return getattr(application, "pipeline_name", None) or ("any" if application.pipeline is None else "gone")

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        if change:
            services.change_application(obj, form.changed_data, by=actor(request))
        else:
            # Shown by response_add, in this same request; it goes nowhere else.
            vars(request)["plain_secret"] = services.register(obj, by=actor(request))

    def delete_model(self, request: HttpRequest, obj: Application) -> None:
        services.delete_applications([obj.pk], by=actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Application]) -> None:
        services.delete_applications(queryset.values_list("pk", flat=True), by=actor(request))

    def response_add(
        self, request: HttpRequest, obj: Application, post_url_continue: str | None = None
    ) -> HttpResponse:
        secrets = [("appid", obj.appid), ("secret", vars(request)["plain_secret"])]
        return self._shown_once(request, obj, f"Application “{obj.name}” created", secrets)

    @action(description="Issue a token", icon="key", permissions=["issue_token"], url_path="issue-token")  # type: ignore[untyped-decorator]
    def issue_token(self, request: HttpRequest, object_id: str) -> HttpResponse:
        application = self.get_object(request, object_id)
        if not isinstance(application, Application):
            raise Http404
        form = TokenForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            token, plain = services.issue_token(
                application, form.chosen_scopes(), label=form.cleaned_data["label"], ttl=form.ttl(), by=actor(request)
            )
            self.log_change(request, application, f"Issued token {token.pk}.")
            return self._shown_once(request, application, "Token issued", [("token", plain)])
        context = {**self._context(request, application), "title": f"Issue a token to {application}", "form": form}
        return TemplateResponse(request, "admin/connections/application/issue_token.html", context)

    def has_issue_token_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("connections.add_accesstoken")

    @admin.action(description="Close all connections of the selected applications", permissions=["close_connections"])
    def close_connections_of(self, request: HttpRequest, chosen: QuerySet[Application]) -> HttpResponse | None:
        return close_connections_of(self, request, chosen, back=request.get_full_path())

    @action(  # type: ignore[untyped-decorator]
        description="Close its connections", icon="link_off", permissions=["close_connections"], url_path="close"
    )
    def close_its_connections(self, request: HttpRequest, object_id: str) -> HttpResponse:
        application = self.get_object(request, object_id)
        if not isinstance(application, Application):
            raise Http404
        back = reverse("admin:connections_application_change", args=[application.pk])
        return close_connections_of(self, request, [application], back=back) or redirect(back)

    def has_close_connections_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        return request.user.has_perm("connections.change_connection")

    def _shown_once(
        self, request: HttpRequest, application: Application, title: str, secrets: list[tuple[str, str]]
    ) -> HttpResponse:
        context = {**self._context(request, application), "title": title, "secrets": secrets}
        # Like every page of the admin it says no-store, so no browser keeps it.
        return TemplateResponse(request, "admin/connections/application/shown_once.html", context)

    def _context(self, request: HttpRequest, application: Application) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.model._meta, "original": application}


class AccessTokenAdmin(StaffAdmin):
    """Tokens, issued on their application's page and revoked here."""

    list_display = ("__str__", "application", "shown_scopes", "shown_state", "created_at", "expires_at")
    list_filter = ("application",)
    list_select_related = ("application",)
    search_fields = ("label", "application__name")
    fields = (("label", "application"), ("shown_scopes", "shown_state"), ("created_at", "expires_at", "revoked_at"))
    readonly_fields = ("application", "shown_scopes", "shown_state", "created_at", "expires_at", "revoked_at")
    actions = ("revoke_selected",)
    actions_submit_line = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccessToken]:
        found: QuerySet[AccessToken] = super().get_queryset(request)
        return found.defer("digest")

    @admin.display(description="scopes")
    def shown_scopes(self, token: AccessToken) -> str:
        return ", ".join(token.scopes)

    @display(description="state", label=STATES)  # type: ignore[untyped-decorator]
    def shown_state(self, token: AccessToken) -> str:
        return token_state(token)

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        revoked = services.revoke_tokens(queryset.values_list("pk", flat=True), by=actor(request))
        messages.success(request, f"{revoked} token{'' if revoked == 1 else 's'} revoked.")

    @action(description="Revoke", permissions=["change"])  # type: ignore[untyped-decorator]
    def revoke(self, request: HttpRequest, token: AccessToken) -> None:
        services.revoke_token(token, by=actor(request))
        messages.success(request, "The token is revoked; open sockets that use it close within seconds.")

    def delete_model(self, request: HttpRequest, obj: AccessToken) -> None:
        services.delete_tokens([obj.pk], by=actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        services.delete_tokens(queryset.values_list("pk", flat=True), by=actor(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
