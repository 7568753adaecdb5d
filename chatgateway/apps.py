from django.apps import AppConfig


class ChatGatewayConfig(AppConfig):
    name = "chatgateway"
    verbose_name = "Chat gateway"

    def ready(self) -> None:
        """Have what the admin says told to its session's sockets, and what it asks of connections to all processes."""
        from chatgateway.announcing import announce  # noqa: PLC0415  Django is ready now
        from connections.signals import asked  # noqa: PLC0415
        from conversations.signals import said  # noqa: PLC0415

        said.connect(announce, dispatch_uid="chatgateway.announce")
        asked.connect(announce, dispatch_uid="chatgateway.announce")
