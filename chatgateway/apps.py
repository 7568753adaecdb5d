from django.apps import AppConfig


class ChatGatewayConfig(AppConfig):
    name = "chatgateway"
    verbose_name = "Chat gateway"

    def ready(self) -> None:
        """Have what the admin says in a session told to its sockets."""
        from chatgateway.announcing import announce  # noqa: PLC0415  Django is ready now
        from conversations.signals import said  # noqa: PLC0415

        said.connect(announce, dispatch_uid="chatgateway.announce")
