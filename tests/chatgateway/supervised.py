"""A supervisor over workers that take no time to start: `python -m tests.chatgateway.supervised FOLDER PATIENCE`.

Each worker, once it is sent a listener, adds to FOLDER/started its port, its own pid and the monotonic clock's seconds,
and does what FOLDER/behaviour says by then: "serve" until it is told to stop; "linger", which takes no more connections
then, but does not end; "die" as soon as it serves; "fail" before it does; "hang", and never serve; or "late", and say
that it serves when it is told to stop.
"""

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

READY_WITHIN = 1.0


def supervise(folder: Path, patience: float) -> None:
    """Supervise a worker on each of two listeners."""
    from chatgateway.supervisor import Supervisor  # noqa: PLC0415  a worker does without

    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    environment = {**os.environ, "FOLDER": str(folder)}
    Supervisor(listeners, environment=environment, patience=patience, ready_within=READY_WITHIN, spare_after=0.0).run()


def wait(orders: int, news: int) -> None:
    """Wait for a listener, as a worker does that has imported everything, and work on it."""
    with suppress(BrokenPipeError):  # the supervisor is gone
        os.write(news, b"0")
    with socket.socket(fileno=orders) as told:
        _, listeners, _, _ = socket.recv_fds(told, 1, 1)
    if listeners:
        work(Path(os.environ["FOLDER"]), socket.socket(fileno=listeners[0]), news)


def work(folder: Path, listener: socket.socket, news: int) -> None:
    """Do as a worker does, so far as its supervisor sees it."""
    behaviour = (folder / "behaviour").read_text()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if behaviour != "hang" else set())
    with (folder / "started").open("a") as started:
        started.write(f"{listener.getsockname()[1]} {os.getpid()} {time.monotonic()}\n")
    if behaviour == "fail":
        sys.exit(3)
    if behaviour == "hang":
        signal.pause()
    if behaviour == "late":
        signal.sigwait({signal.SIGTERM})
    os.write(news, b"1")
    if behaviour == "late":
        return
    if behaviour == "die":
        sys.exit(4)
    signal.sigwait({signal.SIGTERM})
    listener.close()
    os.close(news)
    while behaviour == "linger":
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    if "--orders" in sys.argv:
        options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
        wait(int(options["--orders"]), int(options["--news"]))
    else:
        supervise(Path(sys.argv[1]), float(sys.argv[2]))
