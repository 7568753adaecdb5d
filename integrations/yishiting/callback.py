"""Answers of /chat/async on their way to the caller's own address."""

from functools import partial

from connections import selectors
from conversations.jobs.outbox import Letter
from conversations.outbox import Deliver, Undeliverable
from conversations.store import Store
from integrations.webhooks import Webhooks
from integrations.yishiting.protocol import callback, serialise
from integrations.yishiting.translate import msg_id_of, whole


def deliverer(store: Store, webhooks: Webhooks) -> Deliver:
    """Return who posts these answers."""
    return partial(_deliver, store, webhooks)


async def _deliver(store: Store, webhooks: Webhooks, letter: Letter) -> None:
    """Post one answer, signed, with the caller's `msg_id`."""
    application = letter.application
    url = await store.read(selectors.callback_url, application) if application is not None else ""
    if application is None or not url:
        raise Undeliverable("there is no callback URL any more")
    msg_id = msg_id_of(letter.question) if letter.question is not None else ""
    body = serialise(callback(whole(letter.message, str(application)), msg_id))
    await webhooks.post(url, body, owner=application, delivery=f"yishiting-{letter.id}")
