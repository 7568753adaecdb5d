"""What has to be written however long the database takes: the end of a turn, and that nobody waits for it any more."""

import asyncio

import msgspec
import structlog

from conversations import phrases
from conversations.jobs import Finish, Finished, GiveUp
from conversations.store import Refused, Store, StoreClosed, StoreError, StoreFull, StoreUnavailable, Unstorable
from conversations.types import Outcome

log = structlog.get_logger(__name__)

END_PAUSES = (0.1, 0.5, 1.0, 2.0)  # seconds before the end of a turn is tried again; the last one repeats
LEAVING_PAUSES = (0.2, 0.5, *(1.0,) * 60)  # the same for leaving an answer, as long as one takes


async def finish(store: Store, job: Finish) -> Finished | None:
    """Store the end of a turn; None when the turn is not ours any more."""
    turn, tries = job.turn, 0
    while True:
        try:
            finished: Finished = await store.submit(job)
        except Refused as refusal:
            log.warning("turn.lost", turn=turn.id, reason=str(refusal))
            return None
        except StoreClosed:
            log.warning("turn.left", turn=turn.id)
            return None
        except StoreError as error:
            if isinstance(error, Unstorable):
                # The same text would fail for ever, and the session's next questions wait behind it.
                failure = phrases.FAILURE[turn.language]
                job = msgspec.structs.replace(job, text=failure, citations=(), outcome=Outcome.FAILED)
            await asyncio.sleep(END_PAUSES[min(tries, len(END_PAUSES) - 1)])
            tries += 1
        else:
            return finished


async def give_up(store: Store, job: GiveUp) -> bool:
    """Store that one fewer waits for an answer; tell whether that was the last one."""
    for pause in LEAVING_PAUSES:
        try:
            is_last: bool = await store.submit(job)
        except (StoreFull, StoreUnavailable):
            await asyncio.sleep(pause)
        except StoreError:  # counted or not: counted twice, it would end what somebody waits for
            return False
        else:
            return is_last
    return False
