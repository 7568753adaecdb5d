"""Who is at the desk."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AbstractBaseUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from chatgateway.roles import may_work_at_the_desk


def for_operators(view: Callable[..., HttpResponse]) -> Any:
    """Let in whoever may answer visitors."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not may_work_at_the_desk(request):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return admin.site.admin_view(guarded)


def operator_of(request: HttpRequest) -> User:
    """Return who asks."""
    user: AbstractBaseUser | Any = request.user
    assert isinstance(user, User)  # the admin lets nobody else in
    return user
