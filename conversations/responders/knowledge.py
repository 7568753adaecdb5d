"""Answers from the pipeline's documents, offline: the passages that are about the question, and where they stand."""

import re
from collections.abc import AsyncGenerator, Sequence

import msgspec

from conversations.escalation import asks_for_owner
from conversations.knowledge import passages, segment
from conversations.library import MAX_QUESTION, Hit, Library
from conversations.phrases import CALLED, NOBODY_TO_CALL
from conversations.responders.base import Ask
from conversations.types import Citation, Language, Reply, SourceLine

LOOKED_AT = 4  # passages that a search returns
SECOND_BEST = 0.85  # share of the best score that another passage needs to be part of the answer
MAX_ANSWER = 1600  # characters of passages; another one is added within it
TITLES_NAMED = 8


class _Phrases(msgspec.Struct, frozen=True):
    """What the responder says besides the documents' words, in one language."""

    greeting: str
    thanks: str
    unknown: str
    wordless: str
    topics: str
    no_documents: str
    source: str
    title: str
    separator: str


_PHRASES: dict[Language, _Phrases] = {
    "zh-hans": _Phrases(
        greeting="你好！我根据文档回答问题，并注明出处。",
        thanks="不客气！还有问题，随时问我。",
        unknown="抱歉，这个问题我不知道：现有的文档里没有找到答案。",
        wordless="抱歉，我看不了附件，请用文字提问。",
        topics="我可以回答这些方面的问题：{titles}。",
        no_documents="这里还没有载入任何文档。",
        source="来源：",
        title="《{title}》",
        separator="、",
    ),
    "en": _Phrases(
        greeting="Hello! I answer questions from the documents, and name the source.",
        thanks="You are welcome! Ask me whenever you have another question.",
        unknown="Sorry, I don't know: the documents I have hold no answer to this.",
        wordless="Sorry, I cannot look at attachments; please ask in words.",
        topics="This is what I can help with: {titles}.",
        no_documents="No documents have been loaded here yet.",
        source="Source: ",
        title="{title}",
        separator=", ",
    ),
}
_GREETING = re.compile(
    r"(?:你好|您好|嗨|哈喽|哈啰|大家好|早上好|下午好|晚上好|早安|晚安|在吗|有人吗|你是谁|您是谁|你能做什么|你会什么|你可以做什么"
    r"|\b(?:hi|hello|hey|hiya|greetings|good (?:morning|afternoon|evening|day)|are you there|who are you"
    r"|what can (?:you do|i ask)(?: you)?|how are you)\b)"
)
_THANKS = re.compile(r"(?:谢谢|多谢|感谢|谢了|thx\b|\bthanks?(?: you| a lot| so much| very much)*\b|\bcheers\b)")
# What stands for files in a message that says nothing.
_ATTACHED_ONLY = re.compile(r"(?:\s*\[(?:Image|Voice|File)\])+\s*")
# What stands beside a greeting and asks for nothing.
_FILLER = re.compile(
    r"[\W_]+|[啊呀呢吧哦了你您们]|请问|\b(?:there|everyone|everybody|all|bot|a lot|so much|very much|today)\b"
)


class KnowledgeResponder:
    """Answers with the best passages and names their source; says so when there are none."""

    wants_history = False
    repeatable = True

    def __init__(self, library: Library) -> None:
        self._library = library

    async def answer(self, ask: Ask) -> AsyncGenerator[str | Reply, None]:
        """Yield the answer piece by piece, then the Reply with its citations."""
        question = ask.question[:MAX_QUESTION]
        is_wordless = _ATTACHED_ONLY.fullmatch(question) is not None
        language = ask.language if is_wordless else segment.language_of(question) or ask.language
        phrases = _PHRASES[language]
        opening = _small_talk(question, phrases)
        hits = (
            []
            if opening or is_wordless
            else await self._library.search(ask.pipeline.uuid, question, language, LOOKED_AT)
        )
        if ask.called is not None:
            # Many passages mention people; one that is headed so says how to reach them.
            hits = [] if ask.called else [hit for hit in hits if asks_for_owner(hit.heading or hit.title)]
            if not hits:
                yield (CALLED if ask.called else NOBODY_TO_CALL)[language]
                yield Reply(known=ask.called)
                return
        if not hits:
            yield opening or (phrases.wordless if is_wordless else phrases.unknown)
            yield "\n\n" + self._topics(ask, language)
            yield Reply(known=bool(opening))
            return
        chosen = _choose(hits)
        for number, hit in enumerate(chosen):
            if number:
                yield "\n\n"
            for piece in passages.sentences(hit.text):
                yield piece
            yield SourceLine("\n\n" + _source(hit, phrases), hit.doc_id)
        yield Reply(citations=_citations(chosen))

    def _topics(self, ask: Ask, language: Language) -> str:
        """Say what the documents are about."""
        phrases = _PHRASES[language]
        titles = self._library.titles(ask.pipeline.uuid, language)[:TITLES_NAMED]
        if not titles:
            return phrases.no_documents
        named = phrases.separator.join(phrases.title.format(title=title) for title in titles)
        return phrases.topics.format(titles=named)


def _small_talk(question: str, phrases: _Phrases) -> str:
    """Return the friendly sentence for a greeting or thanks, or nothing where something else was said too."""
    words = segment.normalise(question)
    rest = _THANKS.sub(" ", _GREETING.sub(" ", words))
    if rest == words or _FILLER.sub("", rest):
        return ""
    return phrases.thanks if _THANKS.search(words) else phrases.greeting


def _choose(hits: Sequence[Hit]) -> list[Hit]:
    """Return the best passage, and those nearly as good that the answer has room for."""
    best, *others = hits
    chosen, size = [best], len(best.text)
    for hit in others:
        if hit.score >= SECOND_BEST * best.score and size + len(hit.text) <= MAX_ANSWER:
            chosen.append(hit)
            size += len(hit.text)
    return chosen


def _source(hit: Hit, phrases: _Phrases) -> str:
    heading = f" › {hit.heading}" if hit.headings else ""
    url = f" ({hit.url})" if hit.url else ""
    return f"{phrases.source}{phrases.title.format(title=hit.title)}{heading}{url}"


def _citations(hits: Sequence[Hit]) -> tuple[Citation, ...]:
    """Return one citation a document, best first."""
    found: dict[str, Citation] = {}
    for hit in hits:
        found.setdefault(hit.doc_id, Citation(hit.doc_id, hit.space_id, hit.title, hit.url, hit.score))
    return tuple(found.values())
