"""A call's trace: which answer it will get, readable by the caller it was given to and by nobody else.

A UUID of version 8 (RFC 9562): 48 bits of the answer's id, and a MAC over that id and the caller. So nothing is stored
for it, and a foreign trace looks like one that never was.
"""

from uuid import UUID

from django.utils.crypto import constant_time_compare, salted_hmac

_ID_BYTES = 6


def trace_of(answer: int, caller: str) -> UUID:
    """Return the trace of the answer with that id, for `caller`."""
    mac = salted_hmac("chatgateway.yishiting.trace", f"{answer}/{caller}", algorithm="sha256").digest()
    raw = bytearray(answer.to_bytes(_ID_BYTES, "big") + mac[: 16 - _ID_BYTES])
    raw[6] = 0x80 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return UUID(bytes=bytes(raw))


def answer_of(trace: str, caller: str) -> int | None:
    """Return the id of the answer that a trace stands for; None where it is not one of `caller`'s."""
    try:
        given = UUID(trace)
    except ValueError:
        return None
    answer = int.from_bytes(given.bytes[:_ID_BYTES], "big")
    return answer if constant_time_compare(str(given), str(trace_of(answer, caller))) else None
