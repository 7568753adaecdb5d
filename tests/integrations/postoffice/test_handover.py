"""A person takes over from the bot on the hub: his words, and the notices, are letters from the bot's address."""

import asyncio
from uuid import UUID

from conversations.phrases import JOINED, LEFT
from conversations.types import own_session
from integrations.postoffice.translate import WIRE
from tests.integrations.postoffice.conftest import Name, run
from tests.support.clients import DEFAULT_PIPELINE
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess

BOT = "AI_CHATBOT"


async def at_the_desk(gateway: GatewayProcess, client: str, *acts: str) -> None:
    """Have Ann do something with a client's conversation: calls of services, in which `here` is who and where."""
    session = own_session(UUID(DEFAULT_PIPELINE), WIRE, client, BOT).uuid
    begin = (
        "from uuid import UUID; from conversations import services; from django.contrib.auth.models import User; "
        f"here = (UUID('{session}'), User.objects.get_or_create(username='ann')[0].pk)"
    )
    await asyncio.to_thread(run, gateway, "shell", "--no-imports", "-c", "; ".join((begin, *acts)))


async def test_a_person_answers_letters_in_the_bots_place(gateway: GatewayProcess, name: Name) -> None:
    async with await HubClient.connect(gateway, name("用户")) as client:
        await client.write(BOT, "How do I change the port?", id="q1", subject="Port", subjectId=2**60)
        answer = await client.recv()
        assert (answer["inReplyTo"], answer["subject"]) == ("q1", "Port")
        await at_the_desk(gateway, client.id, "services.take_over(*here, 'Ann', seconds=600)")
        joined = await client.recv()
        assert joined["content"] == JOINED["en"].format(name="Ann")
        assert {**joined, "content": 0, "createTime": 0} == {**answer, "content": 0, "createTime": 0}
        for _ in range(2):  # a letter that comes again is one more letter, here as elsewhere
            await client.write(BOT, "Are you there?", id="q2")
        assert await client.until_silent() == []
        await at_the_desk(
            gateway,
            client.id,
            "services.reply_as_owner(here[0], 'I am.', name='Ann', operator=here[1], seconds=600)",
            "services.hand_back(*here)",
        )
        letters = [await client.recv() for _ in range(2)]
        told = [(letter["from"], letter["to"], letter["inReplyTo"], letter["content"]) for letter in letters]
        assert told == [
            (BOT, client.id, "q2", "I am."),
            (BOT, client.id, "q2", LEFT["en"].format(name="Ann")),
        ]
        await client.write(BOT, "How do I change the port?", id="q3")
        assert (await client.recv())["inReplyTo"] == "q3"
        assert await client.until_silent() == []


async def test_what_a_person_says_waits_for_a_client_that_is_away(gateway: GatewayProcess, name: Name) -> None:
    async with await HubClient.connect(gateway, name("用户")) as client:
        await client.write(BOT, "How do I change the port?", id="q1")
        await client.recv()
    await at_the_desk(gateway, client.id, "services.reply_as_owner(here[0], 'Read the manual.', name='Ann')")
    async with await HubClient.connect(gateway, client.id) as again:
        # The answer may come again before: what was read just before the end is not known to have been.
        letter = (await again.until(lambda letter: letter["content"] == "Read the manual."))[-1]
        assert (letter["from"], letter["inReplyTo"]) == (BOT, "q1")
