"""A route that says back what it hears, through the wires' base class; `echo_settings` serve it with our own routes."""

from typing import Any

from chatgateway.asgi import application as gateway_application
from chatgateway.routing import gateway
from integrations.consumer import GatewayConsumer
from integrations.errors import Fault
from integrations.outbound import Frame

PATH = "/echo"


class EchoConsumer(GatewayConsumer):
    """Says everything back as it came, text as the wires send theirs."""

    wire = "echo"

    async def opened(self) -> None:
        """Greet nobody: an echo speaks only when spoken to."""

    async def received(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self.push(Frame(data.encode()))
        else:
            await self.send(bytes_data=data)

    def error_frame(self, fault: Fault) -> Frame | None:
        return None


echo: Any = EchoConsumer.as_asgi(parts=gateway.parts)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve the echo, and everything else as the gateway does."""
    served = echo if scope["type"] == "websocket" and scope["path"] == PATH else gateway_application
    await served(scope, receive, send)
