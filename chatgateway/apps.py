from django.apps import AppConfig


class ChatGatewayConfig(AppConfig):
    name = "chatgateway"
    verbose_name = "Chat gateway"

    def ready(self) -> None:
        """Have what the admin does told to sockets and processes, counted, and the audit trail written."""
        from chatgateway.announcing import announce, announce_change, take_note  # noqa: PLC0415  Django is ready now
        from connections.audit import record_sent  # noqa: PLC0415
        from connections.signals import asked  # noqa: PLC0415
        from conversations.signals import changed, recorded, said  # noqa: PLC0415

        said.connect(announce, dispatch_uid="chatgateway.announce")
        said.connect(take_note, dispatch_uid="chatgateway.note")
        changed.connect(announce_change, dispatch_uid="chatgateway.announce")
        asked.connect(announce, dispatch_uid="chatgateway.announce")
        recorded.connect(record_sent, dispatch_uid="chatgateway.record")
