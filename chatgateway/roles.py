"""The roles of staff, as Django's groups: who looks, who talks to visitors, who changes how it all works."""

from django.contrib.auth.models import Group, Permission
from django.http import HttpRequest

# Working at the desk takes both; its private notes ask for nothing else.
AT_THE_DESK = frozenset({"conversations.answer_session", "conversations.view_message"})
VIEWER = frozenset({
    "connections.view_accesstoken", "connections.view_application", "connections.view_auditentry",
    "connections.view_connection", "connections.view_hubclient", "connections.view_worker",
    "conversations.view_cannedreply", "conversations.view_chatsession", "conversations.view_contactrequest",
    "conversations.view_document", "conversations.view_pipeline", "conversations.view_route",
})  # fmt: skip
OPERATOR = VIEWER | AT_THE_DESK | {
    "connections.change_connection",  # closes it
    "conversations.change_contactrequest",
    "conversations.add_cannedreply", "conversations.change_cannedreply", "conversations.delete_cannedreply",
}  # fmt: skip
ACCOUNTS = frozenset(
    f"auth.{verb}_{model}" for verb in ("add", "change", "delete", "view") for model in ("user", "group")
)
OURS = ("connections.", "conversations.")  # an administrator may do everything here


def may_work_at_the_desk(request: HttpRequest) -> bool:
    """Tell whether the desk is open to whoever asks."""
    return request.user.has_perms(AT_THE_DESK)


def ensure_roles() -> None:
    """Make the groups, and give each what it lacks of its role; what was added to a group stays."""
    rows = Permission.objects.values_list("content_type__app_label", "codename", "pk")
    known = {f"{app}.{codename}": pk for app, codename, pk in rows}
    administrator = ACCOUNTS | {name for name in known if name.startswith(OURS)}
    for name, role in {"Viewer": VIEWER, "Operator": OPERATOR, "Administrator": administrator}.items():
        group, _ = Group.objects.get_or_create(name=name)
        held = set(group.permissions.values_list("pk", flat=True))
        group.permissions.add(*(known[permission] for permission in role if known[permission] not in held))
