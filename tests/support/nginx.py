"""Debian's nginx before a gateway: document 001's block for the sockets, and a plain proxy for the rest."""

import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.documents import program
from tests.support.programs import Program, tool
from tests.support.server import GatewayProcess
from tests.support.waiting import free_port, is_listening, wait_until

# What nginx needs wherever it runs, around its servers.
AROUND = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""
# Buffering is on, as nginx has it: what must leave at once says so itself.
SERVERS = """
    upstream websocket_backend {{ server 127.0.0.1:{backend}; }}
    server {{
        listen 127.0.0.1:{port};
{sockets}
        location / {{
            proxy_pass http://websocket_backend;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
"""


def configured(folder: Path, servers: str) -> str:
    """Return the whole configuration of an nginx that keeps its files in `folder`."""
    # Its workers must enter the folders of the test, which are root's.
    return AROUND.format(user="user root;" if os.geteuid() == 0 else "", folder=folder, servers=servers)


@contextmanager
def nginx_before(gateway: GatewayProcess, folder: Path) -> Iterator[str]:
    """Run nginx in `folder` before a gateway, which must let itself be proxied, and give its `host:port`."""
    command = tool("nginx")
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        configured(
            folder,
            SERVERS.format(
                backend=gateway.port,
                port=port,
                sockets=textwrap.indent(program("001", "nginx", "location /websocket/"), " " * 8),
            ),
        )
    )
    with Program(command, "-p", folder, "-c", configuration, "-e", "stderr", folder=folder, name="nginx") as running:

        def listening() -> bool:
            assert running.running, running.output
            return is_listening(port)

        wait_until(listening, timeout=10, what="nginx", detail=lambda: running.output)
        yield f"127.0.0.1:{port}"
