"""Half an hour of ordinary life on five wires: memory, open files and tasks stay what they were (R18)."""

import asyncio
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count

import pytest

from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.measuring import LONG, at_length
from tests.faults.model import Mode, model_in_thread
from tests.faults.process import holding, idle
from tests.support import yishiting
from tests.support.clients import PipelineClient
from tests.support.contact import ContactClient
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient

MINUTES = float(os.environ.get("SOAK_MINUTES", at_length("0.08", "30")))
VISITORS = at_length(30, 200)
STAY = at_length(1.5, 60)  # seconds that a visitor stays; then he comes again on another connection
PAUSE = at_length(0.5, 8.0)  # seconds between two questions of his
SAMPLE = at_length(0.5, 5.0)  # seconds between two looks at the process
LEAK = 1.0  # MB in a minute
# Each visitor has an address of his own, as behind nginx, and the limits are on.
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "tests.faults.small_cache_settings",
    "TRUSTED_PROXIES": "127.0.0.1",
    "ALLOW_OPEN_ACCESS": "true",
}

Questions = AsyncIterator[str]
Headers = dict[str, str]


@dataclass
class Visitors:
    """Everybody who comes and goes until `ends`, each from an address of his own."""

    gateway: GatewayProcess
    ends: float
    stays: int = 0
    answers: int = 0

    async def come_and_go(self, number: int) -> None:
        """Come again and again; leave politely or not."""
        chance = random.Random(number)
        visit = VISITS[number % len(VISITS)]
        headers = {"X-Forwarded-For": f"10.1.{number // 250}.{number % 250}"}
        await asyncio.sleep(chance.uniform(0, PAUSE))  # nobody comes at the same moment as everybody
        for stay in count():
            if time.monotonic() > self.ends:
                break
            await visit(self.gateway, f"{number}-{stay}", headers, self._questions(chance))
            self.stays += 1

    async def _questions(self, chance: random.Random) -> Questions:
        leaves = min(self.ends, time.monotonic() + chance.uniform(0.2, 1.8) * STAY)
        while time.monotonic() < leaves:
            yield f"What can you do? {chance.randint(0, 10**9)}"
            self.answers += 1
            await asyncio.sleep(chance.uniform(0.2, 1.8) * PAUSE)  # reading what was answered


async def _on_pipeline(gateway: GatewayProcess, name: str, headers: Headers, questions: Questions) -> None:
    async with await PipelineClient.connect(gateway, headers=headers) as client:
        async for text in questions:
            await client.ask(text)


async def _in_a_room(gateway: GatewayProcess, name: str, headers: Headers, questions: Questions) -> None:
    async with await PipelineClient.connect(gateway, "group", session_id=f"room-{name[0]}", headers=headers) as client:
        async for text in questions:
            await client.say(text)
            await client.ping()


async def _on_contact(gateway: GatewayProcess, name: str, headers: Headers, questions: Questions) -> None:
    client = await ContactClient.connect(gateway, headers=headers, stream=1)
    async for text in questions:
        await client.chat(text)
    client.socket.transport.abort()  # as a page that is closed on a train


async def _on_wechat(gateway: GatewayProcess, name: str, headers: Headers, questions: Questions) -> None:
    async with await WeChatClient.open(gateway, login=name.partition("-")[0], headers=headers) as client:
        async for text in questions:
            frames = await client.chat(text, stream=True)
            assert frames[-1]["code"] == 0, frames[-1]


async def _on_hub(gateway: GatewayProcess, name: str, headers: Headers, questions: Questions) -> None:
    async with await HubClient.connect(gateway, f"/soak/{name.partition('-')[0]}", headers=headers) as client:
        async for text in questions:
            await client.write("AI_CHATBOT", text)
            await client.until(lambda letter: letter["type"] == "msg" and letter["from"] == "AI_CHATBOT", 60)


async def _on_yishiting(gateway: GatewayProcess, name: str, headers: Headers, questions: Questions) -> None:
    # A connection that is kept may be closed for its idleness while the next question is on its way.
    async with yishiting.caller(gateway, Connection="close", **headers) as client:
        async for text in questions:
            answer = await client.post("/chat", json=yishiting.question(text, session_id=name))
            assert answer.status_code == 200, answer.text
            assert yishiting.events(answer.content)[-1]["finished"]


VISITS: tuple[Callable[[GatewayProcess, str, Headers, Questions], Awaitable[None]], ...] = (
    _on_pipeline, _in_a_room, _on_contact, _on_wechat, _on_hub, _on_yishiting,
)  # fmt: skip


@pytest.mark.promise("R18")
@pytest.mark.timeout(MINUTES * 60 + 180)
async def test_nothing_grows_while_visitors_come_and_go(start_gateway: GatewayFactory, measured: Measured) -> None:
    with model_in_thread() as model:
        gateway = start_gateway(model=model.base_url(Mode.SLOW), environment=ENVIRONMENT)
        fresh = idle(gateway)
        visitors = Visitors(gateway, time.monotonic() + MINUTES * 60)
        samples: list[tuple[float, float]] = []
        async with asyncio.TaskGroup() as group:
            everybody = [group.create_task(visitors.come_and_go(number)) for number in range(VISITORS)]
            group.create_task(_watch(gateway, everybody, samples))
        after = await asyncio.to_thread(idle, gateway, fresh, kept=lambda: model.open_connections)
    assert visitors.answers > VISITORS
    assert visitors.stays > VISITORS
    later = samples[len(samples) // 2 :]
    slope = statistics.linear_regression(*zip(*later, strict=True)).slope
    figure = (
        f"{slope:+.2f} MB/min over the second half of {MINUTES:g} min ({later[0][1]:.0f} → {later[-1][1]:.0f} MB); "
        f"{VISITORS} visitors, {visitors.stays:,} connections, {visitors.answers:,} answers; afterwards "
        f"{after.descriptors} descriptors ({fresh.descriptors} when fresh) and {after.tasks} tasks ({fresh.tasks})"
    )
    measured("R18", on="SQLite", figure=figure, holds=slope < LEAK or not LONG)


async def _watch(
    gateway: GatewayProcess, everybody: list[asyncio.Task[None]], samples: list[tuple[float, float]]
) -> None:
    """Note minutes and megabytes until all have gone."""
    began = time.monotonic()

    async def all_gone() -> bool:
        samples.append(((time.monotonic() - began) / 60, (await asyncio.to_thread(holding, gateway)).megabytes))
        await asyncio.wait(everybody, timeout=SAMPLE)
        return all(task.done() for task in everybody)

    await eventually(all_gone, timeout=MINUTES * 60 + 120, what="the end of every visit")
