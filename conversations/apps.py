from django.apps import AppConfig
from django.db.models.signals import post_delete


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self) -> None:
        from conversations.models import Upload  # noqa: PLC0415  there are no models before this
        from conversations.uploads.storage import forget  # noqa: PLC0415

        # Whatever deletes a row: its session, its pipeline, a purge.
        post_delete.connect(forget, sender=Upload)
