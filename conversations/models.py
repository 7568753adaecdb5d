"""The tables of what was said. Written through `services` and the store's jobs, read through `selectors`.

Integer primary keys inside, UUIDs outside. Messages are only ever appended.
"""

import uuid

from django.conf import settings
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q


class Pipeline(models.Model):
    """A way of answering: ordered routes over its own documents."""

    class GroupReply(models.TextChoices):
        MENTIONED = "mentioned", "When addressed"
        ALWAYS = "always", "Always"

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    is_default = models.BooleanField(default=False, help_text="Answers where nothing names a pipeline.")
    failure_text = models.TextField(
        blank=True, help_text="What a visitor reads when no route could answer; empty: a sentence in his language."
    )
    group_reply = models.CharField(max_length=16, choices=GroupReply, default=GroupReply.MENTIONED)
    group_prefix = models.CharField(
        max_length=32, default="ai", blank=True, help_text="In a group, a message that begins with it is a question."
    )
    public = models.BooleanField(
        default=False,
        help_text="In token mode visitors need no token: on the pipeline and contact wires from a page of an allowed "
        "origin; of the default pipeline POST /wechat/chat is open to anybody.",
    )
    owner_email = models.CharField(
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text="Who hears of contact requests: addresses, separated by commas.",
    )
    webhook_url = models.CharField(
        max_length=1000,
        validators=[URLValidator(["http", "https"])],
        blank=True,
        default="",
        db_default="",
        help_text="Is told of contact requests too, by a signed POST.",
    )
    # Counts up with every change of this pipeline's documents; each process compares it with its index.
    knowledge_revision = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["is_default"], condition=Q(is_default=True), name="one_default_pipeline")
        ]
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """One responder of a pipeline; the first that can answer does."""

    class Kind(models.TextChoices):
        KNOWLEDGE = "knowledge", "Documents"
        OPENAI = "openai", "Language model (OpenAI-compatible)"
        SERVICE = "service", "Service on the hub"

    class Match(models.TextChoices):
        ALWAYS = "always", "Every question"
        CONTAINS = "contains", "Questions that contain a word"
        PREFIX = "prefix", "Questions that begin with"
        REGEX = "regex", "Questions that match a regular expression"

    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="routes")
    position = models.PositiveIntegerField(default=0, help_text="Lower ones are tried first.")
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.KNOWLEDGE)
    enabled = models.BooleanField(default=True)
    match = models.CharField(max_length=16, choices=Match, default=Match.ALWAYS, db_default=Match.ALWAYS)
    pattern = models.CharField(
        max_length=500,
        blank=True,
        default="",
        db_default="",
        help_text="Words separated by commas, a beginning, or a regular expression.",
    )
    service = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="Client ID, such as /service/zhycit/weather_1."
    )
    timeout = models.PositiveIntegerField(
        default=20, db_default=20, help_text="Seconds that a service may take to begin."
    )
    recall = models.BooleanField(default=True, help_text="Give the model matching passages of the documents.")
    system_prompt = models.TextField(blank=True, help_text="Instructions to the model; empty: the built-in ones.")
    model = models.CharField(max_length=200, blank=True, help_text="Empty: OPENAI_MODEL of the environment.")
    vision = models.BooleanField(default=False, db_default=False, help_text="The model takes images.")

    class Meta:
        ordering = ["pipeline", "position", "id"]

    def __str__(self) -> str:
        return f"{self.position}: {self.get_kind_display()}"


class ChatSession(models.Model):
    """One conversation: of one person, or of a group's room. The row appears with its first message."""

    class Kind(models.TextChoices):
        PERSON = "person", "Person"
        GROUP = "group", "Group"

    uuid = models.UUIDField(unique=True)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="sessions")
    session_type = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=200, blank=True, default="")
    wire = models.CharField(max_length=16)
    language = models.CharField(max_length=8, default="zh-hans")
    # The application whose token opened it: that token re-enters it. Kept as UUID: `connections` owns the row.
    application = models.UUIDField(null=True, blank=True)
    # A reset counts the epoch up: history and model memory start anew, the old transcript stays for staff.
    epoch = models.PositiveIntegerField(default=0)
    last_seq = models.PositiveBigIntegerField(default=0)
    # Turns not yet ended; above one, the rest wait for their turn.
    open_turns = models.PositiveIntegerField(default=0)
    # The person who has taken it over from the bot, since when, and until when unless he says something; else empty.
    holder = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    held_by = models.CharField(max_length=100, blank=True, default="", db_default="")
    held_since = models.DateTimeField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    # The names that pages gave to what operators said last, with the message of each: said again, it is the same one.
    last_replies = models.JSONField(null=True, blank=True)
    # Since when a person is needed, or expected by the visitor of a session that one holds; null while nobody is.
    waiting_since = models.DateTimeField(null=True, blank=True)
    # When an operator was through with it; null again once more is said.
    done_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    last_message_at = models.DateTimeField()

    class Meta:
        verbose_name = "session"
        indexes = [
            models.Index(fields=["pipeline", "session_type", "-last_message_at"], name="session_recent"),
            models.Index(fields=["-last_message_at"], name="session_latest"),
            models.Index(fields=["held_until"], condition=Q(held_until__isnull=False), name="session_held"),
            models.Index(fields=["waiting_since"], condition=Q(waiting_since__isnull=False), name="session_waiting"),
            models.Index(fields=["-done_at"], condition=Q(done_at__isnull=False), name="session_done"),
        ]
        permissions = [("answer_session", "Can answer at the desk")]

    def __str__(self) -> str:
        return self.name or str(self.uuid)


class Message(models.Model):
    """Something that was said, as committed."""

    class Role(models.TextChoices):
        USER = "user", "User"
        ASSISTANT = "assistant", "Assistant"
        OPERATOR = "operator", "Operator"
        NOTICE = "notice", "Notice"

    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="messages")
    seq = models.PositiveBigIntegerField()
    epoch = models.PositiveIntegerField(default=0)
    role = models.CharField(max_length=16, choices=Role)
    text = models.TextField(blank=True)
    # The wire's own component list, as JSON; null where the text says it all.
    components = models.JSONField(null=True, blank=True)
    citations = models.JSONField(null=True, blank=True)
    connection_id = models.CharField(max_length=36, blank=True, default="")
    reply_to = models.CharField(max_length=36, blank=True, default="")
    sender_name = models.CharField(max_length=100, blank=True, default="")
    # NULL, not empty, where the client gave none: only ids that were given are unique.
    client_msg_id = models.CharField(max_length=128, null=True, blank=True)  # noqa: DJ001  for that reason
    # On an answer: what it answers, and how its turn ended.
    question = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="+", db_index=False)
    outcome = models.CharField(max_length=16, blank=True, default="", db_default="")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["session", "seq"], name="message_seq"),
            models.UniqueConstraint(
                fields=["session", "client_msg_id"],
                condition=Q(client_msg_id__isnull=False),
                name="message_client_msg_id",
            ),
        ]
        ordering = ["session", "seq"]

    def __str__(self) -> str:
        return f"{self.role} #{self.seq}"


class Feedback(models.Model):
    """What a visitor thinks of an answer."""

    class Value(models.TextChoices):
        UP = "up", "Helpful"
        DOWN = "down", "Not helpful"

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="feedback")
    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="feedback", db_index=False)
    value = models.CharField(max_length=8, choices=Value)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        default_permissions = ()  # it is read with the session's transcript
        indexes = [models.Index(fields=["session", "value"], name="feedback_session")]

    def __str__(self) -> str:
        return f"{self.value} of message {self.message_id}"


class Turn(models.Model):
    """A question on its way to exactly one answer."""

    class State(models.TextChoices):
        QUEUED = "queued", "Waiting for the turn before it"
        RUNNING = "running", "Running"
        ENDED = "ended", "Ended"

    # Reserved, in the transaction that stores the question, for the message that will be the answer.
    id = models.BigIntegerField(primary_key=True)
    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="turns")
    question = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="turn")
    epoch = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=8, choices=State)
    # What is to be answered where it is not all of the question's text (a mention or prefix was taken off).
    prompt = models.TextField(blank=True, default="")
    stream = models.BooleanField(default=True)
    # Whether the documents are to be searched; null: as the route says.
    recall = models.BooleanField(null=True)
    # Who delivers the answer out of the outbox, by the entry's kind; empty: nobody.
    notify = models.CharField(max_length=16, blank=True, default="", db_default="")
    # How many wait for the answer: with the last who leaves it is given up. Who fetches it later does not leave.
    waiting = models.IntegerField(default=1, db_default=1)
    # The lease that runs it; another worker may take it over once that lease is dead.
    worker = models.UUIDField(null=True, blank=True)
    # When a responder that must not be asked twice began; such a turn is ended, not run again, after a crash.
    begun_at = models.DateTimeField(null=True, blank=True)
    partial = models.TextField(blank=True, default="")
    # Of a turn that has not ended: how it is about to, because it was given up.
    outcome = models.CharField(max_length=16, blank=True, default="")
    responder = models.CharField(max_length=16, blank=True, default="")
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    first_text_ms = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["session", "id"], condition=~Q(state="ended"), name="turn_open"),
            models.Index(fields=["worker"], condition=Q(state="running"), name="turn_running"),
        ]

    def __str__(self) -> str:
        return f"turn {self.pk} ({self.state})"


class Upload(models.Model):
    """A file that somebody sent. Its bytes lie in the storage `uploads`, by its key; who has the key may read it."""

    class Kind(models.TextChoices):
        IMAGE = "image", "Picture"
        DOCUMENT = "document", "Document"

    key = models.CharField(max_length=43, unique=True)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="+")
    # What it was sent with; null until then, and for a day at most.
    message = models.ForeignKey(Message, on_delete=models.CASCADE, null=True, related_name="uploads")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=120)
    media_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField()
    # Of a picture, as it is shown.
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    # A digest of the address that sent it: what waits of one address is bounded.
    sender = models.CharField(max_length=32)
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ()  # they belong to the messages
        indexes = [
            models.Index(fields=["sender", "size"], condition=Q(message__isnull=True), name="upload_waiting"),
            models.Index(fields=["created_at"], condition=Q(message__isnull=True), name="upload_old"),
        ]

    def __str__(self) -> str:
        return f"upload {self.pk} ({self.kind})"


class Note(models.Model):
    """What operators tell one another about a session; no visitor sees it, so it has no place in his `seq`."""

    # As the page named it: written again under that name, it is the same one.
    uuid = models.UUIDField(unique=True, default=uuid.uuid4)
    session = models.ForeignKey(ChatSession, on_delete=models.CASCADE, related_name="notes")
    author = models.CharField(max_length=100)
    text = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ()  # they belong to the desk
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"note {self.pk}"


class CannedReply(models.Model):
    """A reply that operators give often."""

    title = models.CharField(max_length=100, unique=True, help_text="What operators pick it by.")
    text = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "canned replies"
        ordering = ["title"]

    def __str__(self) -> str:
        return self.title


class Document(models.Model):
    """A text that the knowledge responder answers from; Markdown or plain."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="documents")
    space = models.CharField(max_length=100, default="default", help_text="The collection it belongs to.")
    title = models.CharField(max_length=300)
    url = models.CharField(max_length=1000, blank=True, help_text="Where a reader finds the original.")
    text = models.TextField()
    # Below the loaded folder; empty for a document entered by hand.
    path = models.CharField(max_length=500, blank=True, default="", editable=False)
    digest = models.CharField(max_length=64, editable=False)
    revision = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pipeline", "space", "path"], condition=~Q(path=""), name="document_path")
        ]
        indexes = [models.Index(fields=["pipeline", "revision"], name="document_revision")]
        ordering = ["title", "id"]

    def __str__(self) -> str:
        return self.title


class ContactRequest(models.Model):
    """A visitor who wants to hear from the owner. `message` is what he wrote."""

    class State(models.TextChoices):
        RECEIVED = "received", "Received"
        NOTIFIED = "notified", "Owner notified"
        REPLIED = "replied", "Replied"
        CLOSED = "closed", "Closed"

    uuid = models.UUIDField(unique=True)
    pipeline = models.ForeignKey(Pipeline, on_delete=models.CASCADE, related_name="contact_requests")
    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="contact_request")
    # Whether it came out of a chat, by a phrase that asks for a person.
    escalated = models.BooleanField(default=False)
    user_agent = models.CharField(max_length=300, blank=True, default="")
    state = models.CharField(max_length=16, choices=State, default=State.RECEIVED)
    created_at = models.DateTimeField()
    notified_at = models.DateTimeField(null=True, blank=True)
    replied_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["state", "-created_at"], name="contact_state")]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"contact request {str(self.uuid)[:8]}"


class OutboxEntry(models.Model):
    """Something that must reach somebody outside; stored with what made it necessary, kept until it has."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        FAILED = "failed", "Given up"

    # Who delivers it.
    kind = models.CharField(max_length=16)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True, blank=True)
    # The lease that delivers it; once that is dead, the claim is.
    worker = models.UUIDField(null=True, blank=True)
    error = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "outbox entries"
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="waiting"), name="outbox_due"),
            models.Index(fields=["worker"], condition=Q(worker__isnull=False), name="outbox_claimed"),
        ]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk} ({self.state})"
