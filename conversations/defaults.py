"""The default pipeline: made by the first start, kept in step with the environment, never taken from its operator."""

from uuid import UUID

from django.db import transaction

from conversations.models import Document, Pipeline, Route

# A route as it is compared here: position, kind, enabled, recall, system_prompt, model.
RouteState = tuple[int, str, bool, bool, str, str]
# What ensure_default_pipeline itself makes. An operator who takes a route out or moves one leaves neither behind.
WITHOUT_MODEL: tuple[RouteState, ...] = ((0, Route.Kind.KNOWLEDGE.value, True, True, "", ""),)
WITH_MODEL: tuple[RouteState, ...] = (
    (0, Route.Kind.OPENAI.value, True, True, "", ""),
    (1, Route.Kind.KNOWLEDGE.value, True, True, "", ""),
)


def ensure_default_pipeline(uuid: UUID, *, name: str, description: str, with_model: bool) -> bool:
    """Make the pipeline of that UUID where it is missing, and return whether it was.

    Its routes follow `with_model` only while they are exactly what this function made.
    """
    with transaction.atomic():
        default_is_free = not Pipeline.objects.filter(is_default=True).exists()
        pipeline, made = Pipeline.objects.select_for_update().get_or_create(
            uuid=uuid, defaults={"name": name, "description": description, "is_default": default_is_free}
        )
        wanted = WITH_MODEL if with_model else WITHOUT_MODEL
        present = tuple(
            pipeline.routes.order_by("position", "id").values_list(
                "position", "kind", "enabled", "recall", "system_prompt", "model"
            )
        )
        if made or (present != wanted and present in {WITHOUT_MODEL, WITH_MODEL}):
            pipeline.routes.all().delete()
            Route.objects.bulk_create(
                Route(
                    pipeline=pipeline, position=position, kind=kind, enabled=enabled, recall=recall,
                    system_prompt=system_prompt, model=model,
                )
                for position, kind, enabled, recall, system_prompt, model in wanted
            )  # fmt: skip
    return made


def spaces_of(pipeline: UUID) -> set[str]:
    """Return the names of the spaces in which a pipeline has documents."""
    return set(Document.objects.filter(pipeline__uuid=pipeline).order_by().values_list("space", flat=True).distinct())
