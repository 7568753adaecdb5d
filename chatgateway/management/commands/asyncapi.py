from typing import Any

from django.core.management.base import BaseCommand

from chatgateway.asyncapi.views import written


class Command(BaseCommand):
    help = "Print the AsyncAPI document, as docs/asyncapi.yaml has it."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        self.stdout.write(written("yaml"), ending="")
