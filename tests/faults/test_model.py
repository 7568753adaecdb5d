"""The model fails in every way there is: each wire hears one clear end, in time, and pings are answered (R12, R13)."""

import asyncio
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from conversations import phrases
from tests.benchmarks.measuring import percentile
from tests.conftest import GatewayFactory
from tests.faults.conftest import Measured
from tests.faults.endings import LONGEST, WIRES, How, callbacks, called_back
from tests.faults.measuring import at_length
from tests.faults.model import DROP, WORDS, FakeModel, Mode, in_mode, model_in_thread
from tests.faults.proxy import FaultyProxy
from tests.support.applications import change
from tests.support.clients import Frame, PipelineClient, SocketClient, answer, is_final, is_type
from tests.support.contact import ContactClient
from tests.support.environment import ROOT
from tests.support.postoffice import HubClient
from tests.support.server import GatewayProcess, Templates, model_settings
from tests.support.waiting import eventually
from tests.support.wechat import WeChatClient

# In seconds; the long version has the defaults.
CONNECT, FIRST, IDLE, TOTAL, REST = at_length((0.5, 5.0, 2.0, 8.0, 1.5), (5.0, 20.0, 15.0, 55.0, 30.0))
LATE = 2.0  # seconds past a limit that count as in time, beside other tests
CALLS = 6  # at once, of the gateway that is to have too many
PINGED = at_length(1.5, 60.0)  # seconds
TALKERS = at_length(6, 30)  # who have answers meanwhile
FAILURE_TEXT = "Please call us."
HALF = "".join(WORDS[: len(WORDS) // 2])


@dataclass(frozen=True)
class Case:
    """How an answer ends: what its words are, and when, in seconds; 0: at once."""

    words: str
    how: How = "failed"
    after: float = 0.0


def _half(after: float = 0.0) -> Case:
    return Case(re.escape(f"{HALF}\n\n{phrases.BROKEN_OFF['en']}"), after=after)


NOTHING = Case(re.escape(FAILURE_TEXT))
CASES = {
    Mode.BUSY: NOTHING,
    Mode.BROKEN: NOTHING,
    Mode.UNAUTHORIZED: NOTHING,
    Mode.HANG_UP: NOTHING,
    Mode.NOT_HTTP: NOTHING,
    Mode.HTML: NOTHING,
    Mode.EMPTY: NOTHING,
    Mode.SILENT: Case(NOTHING.words, after=FIRST),
    Mode.HEADERS_ONLY: Case(NOTHING.words, after=FIRST),
    Mode.STALL: _half(after=IDLE),
    Mode.CUT: _half(),
    Mode.CLEAN_CUT: _half(),
    Mode.GARBAGE: _half(),
    Mode.ERROR_EVENT: _half(),
    Mode.ENDLESS: Case(f"{''.join(WORDS)}(again and again )+\n\n{re.escape(phrases.BROKEN_OFF['en'])}"),
    Mode.DRIP: Case(f"({DROP})+\n\n{re.escape(phrases.CUT['en'])}", "cut", TOTAL),
}
# The short version shows all of these on the pipeline wire, and one of each kind on the others.
SHOWN = at_length((Mode.BUSY, Mode.BROKEN, Mode.SILENT, Mode.STALL, Mode.GARBAGE, Mode.DRIP), tuple(CASES))
FIRST_WIRE = next(iter(WIRES))
_LIMITS = {
    "MODEL_FIRST_TOKEN_TIMEOUT": str(FIRST),
    "MODEL_IDLE_TIMEOUT": str(IDLE),
    "TURN_DEADLINE": str(TOTAL),
}


@contextmanager
def _served(templates: Templates, data_dir: Path, base_url: str, **settings: str) -> Iterator[GatewayProcess]:
    """Run a gateway with a model and nothing behind it, whose pipeline has words for the case that it fails."""
    url = templates.copy_sqlite(data_dir, with_model=True)
    environment = {**model_settings(base_url), "RATE_LIMITS": "off", "DRAIN_TIMEOUT": "1", **settings}
    gateway = GatewayProcess(data_dir, url, environment=environment)
    change(gateway, "DELETE FROM conversations_route WHERE kind = 'knowledge'")
    change(gateway, "UPDATE conversations_pipeline SET failure_text = ?", FAILURE_TEXT)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def model() -> Iterator[FakeModel]:
    """A model; each question says how it is answered."""
    with model_in_thread() as model:
        yield model


@pytest.fixture(scope="module")
def gateway(
    model: FakeModel, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that never leaves the model alone."""
    folder = tmp_path_factory.mktemp("patient")
    with _served(templates, folder, model.base_url(), MODEL_FAILURES="100000", **_LIMITS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def proxy(model: FakeModel) -> Iterator[FaultyProxy]:
    """What stands between the model and the gateway that is `wary` of it."""
    with FaultyProxy(model.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def wary(
    proxy: FaultyProxy, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway that leaves the model alone after 5 failures, and has few calls at once."""
    settings = {"MODEL_CALLS": str(CALLS), "MODEL_REST": str(REST)}
    with _served(templates, tmp_path_factory.mktemp("wary"), f"{proxy.url}/v1", **settings) as gateway:
        yield gateway


# --- The end of an answer ------------------------------------------------------------------------


@pytest.mark.timeout(LONGEST + 60)
@pytest.mark.promise("R12")
async def test_whatever_the_model_does_each_wire_hears_one_end(gateway: GatewayProcess, measured: Measured) -> None:
    took: dict[Mode, float] = dict.fromkeys(CASES, 0.0)
    asked = [(mode, wire) for mode in CASES for wire in WIRES if wire == FIRST_WIRE or mode in SHOWN]

    async def ask(mode: Mode, wire: str) -> None:
        case = CASES[mode]
        began = time.monotonic()
        words = await WIRES[wire](gateway, in_mode(mode), case.how)
        took[mode] = max(took[mode], time.monotonic() - began)
        is_right = words is None or re.fullmatch(case.words, words) is not None
        assert is_right, f"{mode} on {wire}: {(words or '')[-200:]!r}"

    for waits in (False, True):  # those that measure a time are not to wait for the others
        async with asyncio.TaskGroup() as together:
            for mode, wire in asked:
                if (CASES[mode].after > 0) == waits:
                    together.create_task(ask(mode, wire))
    for limit, what, mode in (
        (FIRST, "first token", Mode.SILENT), (IDLE, "idle", Mode.STALL), (TOTAL, "total", Mode.DRIP),
    ):  # fmt: skip
        assert took[mode] >= limit
        figure = f"{what} {limit:g} s: ended after {took[mode]:.1f} s at the latest, on {len(WIRES)} kinds of calls"
        measured("R12", on="any database", figure=figure, holds=took[mode] <= limit + LATE)
    figure = f"{len(CASES)} ways to fail, {len(asked)} questions: one end each, partial answers kept and marked"
    measured("R12", on="any database", figure=figure)


@pytest.mark.timeout(LONGEST + 60)
@pytest.mark.promise("R12")
async def test_a_callback_tells_of_each_end_once(
    model: FakeModel, templates: Templates, tmp_path: Path, measured: Measured
) -> None:
    modes = at_length((Mode.BROKEN, Mode.CUT, Mode.STALL), (Mode.BROKEN, Mode.CUT, Mode.STALL, Mode.SILENT, Mode.DRIP))
    settings = {"ACCESS_MODE": "token", "ALLOW_PRIVATE_UPSTREAMS": "true"}  # callbacks are an application's
    with _served(templates, tmp_path, model.base_url(), **settings, **_LIMITS) as gateway:
        async with callbacks(gateway) as received:
            told = await asyncio.gather(
                *(called_back(gateway, in_mode(mode), CASES[mode].how, received) for mode in modes)
            )
    for mode, words in zip(modes, told, strict=True):
        assert words is None or re.fullmatch(CASES[mode].words, words), "told, and in full, where it was cut"
    measured("R12", on="any database", figure=f"callbacks: {len(modes)} ways to fail, each posted once")


@pytest.mark.promise("R12")
async def test_a_model_that_takes_no_connection_is_given_up_in_time(
    start_gateway: GatewayFactory, measured: Measured
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        queue = [socket.socket() for _ in range(4)]  # full: whoever else knocks hears nothing
        for waiting in queue:
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        gateway = start_gateway(
            model=f"http://127.0.0.1:{port}/v1", environment={"MODEL_CONNECT_TIMEOUT": str(CONNECT)}
        )
        async with await PipelineClient.connect(gateway) as client:
            began = time.monotonic()
            frames = await client.ask("What is this?")
            seconds = time.monotonic() - began
        for waiting in queue:
            waiting.close()
    assert answer(frames).startswith(phrases.FALLBACK["en"]), "the documents answer"
    assert CONNECT <= seconds < 15, "the first token's limit, 20 s, is the next"
    figure = f"connect {CONNECT:g} s: the next route has answered after {seconds:.1f} s"
    measured("R12", on="any database", figure=figure, holds=seconds <= CONNECT + LATE)


# --- Leaving the model alone ---------------------------------------------------------------------


async def _say(gateway: GatewayProcess, mode: Mode = Mode.OK) -> str:
    """Ask somebody else's question and return the answer."""
    async with await PipelineClient.connect(gateway) as client:
        return answer(await client.ask(in_mode(mode)))


@pytest.mark.timeout(LONGEST)
@pytest.mark.promise("R12")
async def test_a_model_that_is_away_is_left_alone_until_one_question_finds_it_back(
    wary: GatewayProcess, model: FakeModel, proxy: FaultyProxy, measured: Measured
) -> None:
    log = len(wary.log())
    proxy.refuse()
    proxy.cut()
    asked = len(model.calls)
    told = await asyncio.gather(*(_say(wary) for _ in range(5)))
    opened = time.monotonic()
    proxy.accept()
    told += await asyncio.gather(*(_say(wary) for _ in range(20)))
    at_once = time.monotonic() - opened
    assert told == [FAILURE_TEXT] * 25
    assert len(model.calls) == asked, "it is back, and nobody asks it"

    model.delay = 0.1  # before each word, so that all who ask at once ask before it has answered

    async def is_asked() -> bool:
        told[:] = await asyncio.gather(*(_say(wary, Mode.SLOW) for _ in range(5)))
        return len(model.calls) > asked

    await eventually(is_asked, timeout=REST + 60, what="a question to the model")
    recovered = time.monotonic() - opened
    assert sorted(told) == sorted([FAILURE_TEXT] * 4 + ["".join(WORDS)]), "one question finds out"
    assert len(model.calls) == asked + 1
    told = await asyncio.gather(*(_say(wary) for _ in range(5)))
    assert told == ["".join(WORDS)] * 5
    assert recovered >= REST
    events = [line for line in wary.log()[log:].splitlines() if "model.re" in line]
    assert ["model.resting" in event for event in events] == [True, False]
    assert "model.recovered" in events[1]
    figure = (
        f"breaker after 5: the next 20 questions end in {at_once:.1f} s without a call; half-open after {REST:g} s: "
        f"one of 5 finds out, an answer {recovered:.1f} s after it opened"
    )
    measured("R12", on="any database", figure=figure, holds=recovered <= REST + 3 * LATE)


# --- Too many calls ------------------------------------------------------------------------------


async def _hold(gateway: GatewayProcess) -> PipelineClient:
    """Ask for an answer that goes on and on."""
    client = await PipelineClient.connect(gateway)
    await client.say(in_mode(Mode.DRIP))
    await client.until(is_type("response"))
    return client


@pytest.mark.promise("R12", "R16")
async def test_one_call_too_many_is_told_at_once_on_every_wire(
    wary: GatewayProcess, model: FakeModel, measured: Measured
) -> None:
    asked = len(model.calls)
    holders = [await _hold(wary) for _ in range(CALLS)]
    under_way = model.calls[asked:]
    began = time.monotonic()
    told = await asyncio.gather(*(ask(wary, in_mode(Mode.OK), "busy") for ask in WIRES.values()))
    seconds = time.monotonic() - began
    assert {words for words in told if words is not None} == {phrases.BUSY["en"]}
    assert len(model.calls) == asked + CALLS
    assert not any(call.is_over for call in under_way), "nobody waited for those before him"
    for client in holders:
        await client.send({"type": "stop"})
        await client.until(is_final)
        await client.close()
    for call in under_way:
        await asyncio.to_thread(call.wait, 15)
    assert await _say(wary) == "".join(WORDS)
    figure = (
        f"call {CALLS + 1} to a model with room for {CALLS}: busy within {seconds:.1f} s on {len(WIRES)} kinds of calls"
    )
    measured("R16", on="any database", figure=figure, holds=seconds <= LATE)


# --- Pings ---------------------------------------------------------------------------------------


async def _between_deltas(client: SocketClient, question: Frame, delta: str, pings: int = 3) -> None:
    """Ask, and ping while the answer comes; fail where a pong waits for its end."""
    await client.send(question)
    for _ in range(pings):
        await client.until(is_type(delta))
        await client.ping()
        frames = await client.until(is_type(delta))
        assert not any(frame.get("data", {}).get("is_final") for frame in frames if delta == "response")


@pytest.mark.promise("R13")
async def test_a_ping_is_answered_between_two_deltas_on_every_socket(gateway: GatewayProcess) -> None:
    text = in_mode(Mode.DRIP)
    async with (
        await PipelineClient.connect(gateway) as pipeline,
        await ContactClient.connect(gateway, stream=1) as contact,
        await WeChatClient.open(gateway, login="pings") as wechat,
        await HubClient.connect(gateway, "/user/pings") as hub,
        asyncio.TaskGroup() as together,
    ):
        plain = {"type": "message", "message": [{"type": "Plain", "text": text}]}
        said = {"type": "chat_message", "message": text, "timestamp": ""}
        query = {"type": "chat", "query": text, "use_auto_rag": False, "stream": True}
        together.create_task(_between_deltas(pipeline, plain, "response"))
        together.create_task(_between_deltas(contact, said, "chat_delta"))
        together.create_task(_between_deltas(wechat, query, "chat_delta"))
        # The hub has no ping frame and streams nothing: a letter to oneself comes before the answer.
        await hub.write("AI_CHATBOT", text)
        assert await hub.until_silent() == []
        await (await hub.socket.ping())


async def _talk(client: PipelineClient, modes: list[Mode], enough: asyncio.Event) -> int:
    """Have one answer after another until it is enough; return how many."""
    answers = 0
    while not enough.is_set():
        await client.ask(in_mode(modes[answers % len(modes)]), LONGEST)
        answers += 1
    return answers


async def _pinged(gateway: GatewayProcess, seconds: float) -> list[float]:
    """Have another process ping for so long; return how long each ping took."""
    command = (sys.executable, "-m", "tests.faults.pinging", gateway.ws_url, str(seconds))
    pinging = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await pinging.communicate()
    assert pinging.returncode == 0
    took: list[float] = json.loads(printed)
    return took


@pytest.mark.timeout(LONGEST + 2 * PINGED)
@pytest.mark.promise("R13")
async def test_pings_are_quick_while_many_answers_are_made(
    gateway: GatewayProcess, model: FakeModel, measured: Measured
) -> None:
    quiet = percentile(await _pinged(gateway, PINGED / 4), 0.99)
    model.delay = 0.05
    enough = asyncio.Event()
    kinds = [[Mode.OK], [Mode.SLOW], [Mode.DRIP, Mode.ENDLESS]]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await PipelineClient.connect(gateway)) for _ in range(TALKERS)]
        talking = [asyncio.create_task(_talk(client, kinds[at % 3], enough)) for at, client in enumerate(clients)]
        took = await _pinged(gateway, PINGED)
        enough.set()
        for client in clients:
            await client.send({"type": "stop"})  # what would go on for long
        answers = sum(await asyncio.gather(*talking))
    assert len(took) > 10 * PINGED
    p99 = percentile(took, 0.99)
    figure = (
        f"p99 {p99 * 1000:.0f} ms, median {percentile(took, 0.5) * 1000:.1f} ms of {len(took):,} pings on three wires, "
        f"beside {TALKERS} answers at once (fast, slow, endless; {answers} in all); p99 {quiet * 1000:.0f} ms alone"
    )
    measured("R13", on="SQLite", figure=figure, holds=p99 < 0.1)
