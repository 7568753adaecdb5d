"""The default pipeline: made by the first start, kept in step with the environment, never taken from its operator."""

from uuid import UUID

from django.db import transaction

from conversations.models import Document, Pipeline, Route

# A route as it is compared here: position, kind, enabled, match, pattern, recall, system_prompt, model.
RouteState = tuple[int, str, bool, str, str, bool, str, str]


def _made(position: int, kind: Route.Kind) -> RouteState:
    return (position, kind.value, True, Route.Match.ALWAYS.value, "", True, "", "")


# What ensure_default_pipeline itself makes, with room for an operator's routes between. An operator who takes one out
# or moves one leaves none of them behind.
WITHOUT_MODEL: tuple[RouteState, ...] = (_made(10, Route.Kind.KNOWLEDGE),)
WITH_MODEL: tuple[RouteState, ...] = (_made(10, Route.Kind.OPENAI), _made(20, Route.Kind.KNOWLEDGE))
# By whether there is a model: those, and what earlier releases made.
_MADE: dict[bool, tuple[tuple[RouteState, ...], ...]] = {
    False: (WITHOUT_MODEL, (_made(0, Route.Kind.KNOWLEDGE),)),
    True: (WITH_MODEL, (_made(0, Route.Kind.OPENAI), _made(1, Route.Kind.KNOWLEDGE))),
}
# Shows how a service is asked; off, because nobody answers there until somebody starts one.
EXAMPLE = {
    "position": 0,
    "kind": Route.Kind.SERVICE,
    "enabled": False,
    "match": Route.Match.CONTAINS,
    "pattern": "天气",
    "service": "/service/zhycit/weather_1",
}


def ensure_default_pipeline(uuid: UUID, *, name: str, description: str, with_model: bool) -> bool:
    """Make the pipeline of that UUID where it is missing, and return whether it was.

    Its documents and model routes follow `with_model` only while they are exactly what this function made. Routes to
    services are the operator's, the example too once it is made.
    """
    with transaction.atomic():
        default_is_free = not Pipeline.objects.filter(is_default=True).exists()
        pipeline, made = Pipeline.objects.select_for_update().get_or_create(
            uuid=uuid, defaults={"name": name, "description": description, "is_default": default_is_free}
        )
        if made:
            Route.objects.create(pipeline=pipeline, **EXAMPLE)
        wanted = WITH_MODEL if with_model else WITHOUT_MODEL
        others = pipeline.routes.exclude(kind=Route.Kind.SERVICE)
        present = tuple(
            others.order_by("position", "id").values_list(
                "position", "kind", "enabled", "match", "pattern", "recall", "system_prompt", "model"
            )
        )
        if made or present in _MADE[not with_model]:
            others.delete()
            Route.objects.bulk_create(
                Route(
                    pipeline=pipeline, position=position, kind=kind, enabled=enabled, match=match, pattern=pattern,
                    recall=recall, system_prompt=system_prompt, model=model,
                )
                for position, kind, enabled, match, pattern, recall, system_prompt, model in wanted
            )  # fmt: skip
    return made


def spaces_of(pipeline: UUID) -> set[str]:
    """Return the names of the spaces in which a pipeline has documents."""
    return set(Document.objects.filter(pipeline__uuid=pipeline).order_by().values_list("space", flat=True).distinct())
