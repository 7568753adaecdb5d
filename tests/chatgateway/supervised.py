"""A supervisor over workers that take no time to start: `python -m tests.chatgateway.supervised FOLDER PATIENCE`.

Each worker adds to FOLDER/started its listener's port, its pid and the monotonic clock's seconds, and does what
FOLDER/behaviour says by then: "serve" until it is told to stop; "linger", which takes no more connections then, but
does not end; "die" as soon as it serves; "fail" before it does; or "hang", and never serve.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

READY_WITHIN = 1.0


def supervise(folder: Path, patience: float) -> None:
    """Supervise a worker on each of two listeners."""
    from chatgateway.supervisor import Supervisor  # noqa: PLC0415  a worker does without

    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    environment = {**os.environ, "FOLDER": str(folder)}
    Supervisor(listeners, environment=environment, patience=patience, ready_within=READY_WITHIN).run()


def work(folder: Path, listener: socket.socket, news: int) -> None:
    """Do as a worker does, so far as its supervisor sees it."""
    behaviour = (folder / "behaviour").read_text()
    with (folder / "started").open("a") as started:
        started.write(f"{listener.getsockname()[1]} {os.getpid()} {time.monotonic()}\n")
    if behaviour == "fail":
        sys.exit(3)
    if behaviour == "hang":
        signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.write(news, b"1")
    if behaviour == "die":
        sys.exit(4)
    signal.sigwait({signal.SIGTERM})
    listener.close()
    os.close(news)
    while behaviour == "linger":
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    if "--listener" in sys.argv:
        options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
        work(Path(os.environ["FOLDER"]), socket.socket(fileno=int(options["--listener"])), int(options["--news"]))
    else:
        supervise(Path(sys.argv[1]), float(sys.argv[2]))
