"""Staff accounts and groups, in the admin's theme: nobody gives more than he has, nor changes who has more."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from connections.filters import is_filter

admin.site.unregister(User)
admin.site.unregister(Group)


def _permissions_of(user: Any) -> QuerySet[Permission]:
    """Return what a user was given, himself or by a group, also where he is not active."""
    return Permission.objects.filter(Q(user=user.pk) | Q(group__user=user.pk))


def _is_beyond(user: Any, obj: User | Group) -> bool:
    """Tell whether `obj` may do something that `user` may not."""
    if isinstance(obj, User) and obj.is_superuser:
        return True
    given = _permissions_of(obj) if isinstance(obj, User) else obj.permissions.all()
    return given.exclude(pk__in=_permissions_of(user)).exists()


class _BoundedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic to mypy only
    """What users and groups share: staff that are no superusers give only what they have themselves."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return is_filter(lookup, self.get_list_filter(request))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if not _is_superuser(request):
            foreign = Permission.objects.exclude(pk__in=_permissions_of(request.user))
            if db_field.related_model is Group:
                options["queryset"] = Group.objects.exclude(permissions__in=foreign)
            else:
                options["queryset"] = Permission.objects.exclude(pk__in=foreign)
        return super().formfield_for_manytomany(db_field, request, **options)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, obj: User | Group | None) -> bool:
        """Tell whether `obj` may do nothing that the asker may not."""
        if obj is None or _is_superuser(request):
            return True
        known: dict[User | Group, bool] = vars(request).setdefault("touchable", {})  # one page asks seven times
        if obj not in known:
            known[obj] = not _is_beyond(request.user, obj)
        return known[obj]


@admin.register(User)
class UserAdmin(_BoundedAdmin, BaseUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]  # unfold ships no types
    form: Any = UserChangeForm
    add_form: Any = UserCreationForm
    change_password_form: Any = AdminPasswordChangeForm

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if _is_superuser(request) else (*fields, "is_superuser")


@admin.register(Group)
class GroupAdmin(_BoundedAdmin, BaseGroupAdmin, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    pass


def _is_superuser(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_superuser
