"""What is promised, row by row, for docs/reliability.md."""

PROMISES = {
    "R1": ("Acknowledged means durable", "0 lost of ≥ 10,000 acknowledgements over ≥ 100 `kill -9`"),
    "R2": (
        "Resume replays everything missed, in order, none twice",
        "≤ 300 messages in ≤ 1 s, else `resumed:false`; 1,000 cycles",
    ),
    "R3": (
        "One client message id is answered once",
        "1 model call, 1 stored message, the same reply to all; another body refused",
    ),
    "R4": ("Every accepted question ends in exactly one terminal frame", "100 %, ≤ 30 s"),
    "R5": ("One gap-free order per session, the same for all", "0 inversions in 100,000 messages, 50 senders"),
    "R6": (
        "A slow reader harms nobody",
        "≤ 1 MiB queued, closed 4108 ≤ 10 s later; others' p99 + < 20 ms; 100 stuck readers ≤ 110 MB",
    ),
    "R7": ("A dead peer is gone", "≤ 45 s"),
    "R8": ("A socket that must authenticate and does not is closed", "10 s"),
    "R9": (
        "A killed worker leaves no ghost; the service stays up",
        "ghosts ≤ 30 s, respawn ≤ 2 s, 0 failed new connections",
    ),
    "R10": (
        "Redis restarts: nothing is lost, answers go on, gaps are filled",
        "≤ 5 s after it is back; sockets stay open",
    ),
    "R11": (
        "The database stops or is locked: no false acknowledgement, a clear error",
        "error ≤ 5 s, recovery ≤ 5 s; `/readyz` 503, `/healthz` 200",
    ),
    "R12": (
        "The model fails: a clear error in each wire's own shape",
        "connect 5 s, first token 20 s, idle 15 s, total 55 s; breaker after 5, half-open after 30 s",
    ),
    "R13": ("Ping is answered while an answer is generated", "p99 < 100 ms"),
    "R14": (
        "SIGTERM: answers in flight finish, sockets get 1012",
        "25 s for answers, then they end as cut; exit ≤ 35 s",
    ),
    "R15": ("Rolling restart under load", "0 lost, 0 duplicated"),
    "R16": (
        "Overload sheds: 503 before the upgrade, an error with `retry_after` after it",
        "admitted p99 ≤ 2 × unloaded",
    ),
    "R17": ("Bad input harms nobody", "0 tracebacks over ≥ 100,000 fuzzed frames"),
    "R18": ("Soak: 30 minutes, 200 connections with churn", "< 1 MB/min, descriptors and tasks back to base"),
    "R19": ("500 reconnects at once", "served in 10 s, ≤ 2 queries each"),
    "R20": ("A wall clock that jumps by an hour changes no lease, timeout or order", "0"),
    "R21": ("All of it is visible in `/metrics`", "a counter or gauge for each row"),
}
