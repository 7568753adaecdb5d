"""The name by which a process's sessions in PostgreSQL are found by others; known before Django is."""

import hashlib


def session_name(host: str, pid: int) -> str:
    """Return it, with a digest: PostgreSQL keeps 63 bytes, and the long names of containers differ at their ends."""
    return f"chatgateway {pid}@{hashlib.sha256(host.encode()).hexdigest()[:16]}"
