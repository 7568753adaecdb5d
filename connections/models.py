"""The tables of who is here and who may be. They name pipelines and sessions by UUID, never by foreign key."""

import uuid

from django.core.validators import URLValidator
from django.db import models

from connections.session_names import session_name

# What the previous release, which knows none of the new columns, writes during a rolling restart.
NONE = models.Value([], models.JSONField())


class Application(models.Model):
    """Somebody's program, with the bounds of what its tokens may do."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    appid = models.CharField(max_length=32, unique=True, editable=False)
    # Django's password hash of the secret, which is shown once.
    secret_hash = models.CharField(max_length=200, editable=False)
    pipeline = models.UUIDField(null=True, blank=True, help_text="Its pipeline; empty: any.")
    wires = models.JSONField(
        default=list, db_default=NONE, blank=True, help_text="The wires that its tokens work on; empty: all."
    )
    client_prefixes = models.JSONField(
        default=list,
        db_default=NONE,
        blank=True,
        help_text="What its client IDs on the hub must begin with; empty: anything.",
    )
    callback_url = models.CharField(
        max_length=1000,
        validators=[URLValidator(["http", "https"])],
        blank=True,
        default="",
        db_default="",
        help_text="Where answers to /chat/async are posted, signed.",
    )
    origins = models.JSONField(default=list, blank=True, help_text='Browser origins, such as ["https://example.com"].')
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class AccessToken(models.Model):
    """A bearer token of an application; only its SHA-256 is kept."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="tokens")
    label = models.CharField(max_length=100, blank=True)
    # SHA-256 of 256 random bits, in hexadecimal.
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, help_text='Any of "read", "write", "broadcast", "admin".')
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.label or f"token {self.pk}"


class Worker(models.Model):
    """A process's lease: `beat` counts up while it lives, and others watch it by their own clocks."""

    uuid = models.UUIDField(unique=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    beat = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def session_name(self) -> str:
        """The name of its sessions in PostgreSQL."""
        return session_name(self.host, self.pid)


class Connection(models.Model):
    """A socket, live until `ended_at`."""

    uuid = models.UUIDField(unique=True)
    worker = models.UUIDField()
    wire = models.CharField(max_length=16)
    pipeline = models.UUIDField(null=True, blank=True)
    session = models.UUIDField(null=True, blank=True)
    session_type = models.CharField(max_length=8, blank=True, default="")
    application = models.UUIDField(null=True, blank=True)
    # Who is at the other end, as his wire names him: a client ID, a room, a visitor's name.
    client = models.CharField(max_length=300, blank=True, default="", db_default="")
    address = models.CharField(max_length=64, blank=True, default="")
    user_agent = models.CharField(max_length=300, blank=True, default="")
    messages_in = models.PositiveBigIntegerField(default=0)
    messages_out = models.PositiveBigIntegerField(default=0)
    bytes_in = models.PositiveBigIntegerField(default=0)
    bytes_out = models.PositiveBigIntegerField(default=0)
    connected_at = models.DateTimeField()
    last_active = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    close_code = models.PositiveIntegerField(null=True, blank=True)
    close_reason = models.CharField(max_length=123, blank=True, default="")

    class Meta:
        indexes = [
            models.Index(
                fields=["pipeline", "session_type"],
                condition=models.Q(ended_at__isnull=True),
                name="connection_live",
            ),
            models.Index(fields=["worker"], condition=models.Q(ended_at__isnull=True), name="connection_worker"),
            models.Index(fields=["session"], condition=models.Q(ended_at__isnull=True), name="connection_session"),
            models.Index(fields=["client"], condition=models.Q(ended_at__isnull=True), name="connection_client"),
            models.Index(
                fields=["-connected_at"], condition=models.Q(ended_at__isnull=True), name="connection_live_latest"
            ),
            models.Index(fields=["-connected_at"], name="connection_latest"),
        ]
        permissions = [("broadcast_message", "Can broadcast to connections")]

    def __str__(self) -> str:
        return f"{self.wire} {self.uuid}"


class HubClient(models.Model):
    """A named client of the hub; known from its first connection on."""

    client_id = models.CharField(max_length=300, unique=True)
    application = models.UUIDField(null=True, blank=True)
    # The connection that holds the name now, and the worker that it lives in; null while nobody does.
    connection = models.UUIDField(null=True, blank=True)
    worker = models.UUIDField(null=True, blank=True)
    # Integer seconds, as the client gave them: an older or equal one does not take the name away.
    start_time = models.BigIntegerField(null=True, blank=True)
    # The mailbox: the place given last, and the last one handed over.
    last_seq = models.PositiveBigIntegerField(default=0)
    delivered_seq = models.PositiveBigIntegerField(default=0)
    # The same in bytes: what was ever put in, and how much of it was handed over.
    last_byte = models.PositiveBigIntegerField(default=0, db_default=0)
    delivered_byte = models.PositiveBigIntegerField(default=0, db_default=0)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        verbose_name = "hub client"
        indexes = [models.Index(fields=["worker"], condition=models.Q(worker__isnull=False), name="hubclient_worker")]
        ordering = ["client_id"]

    def __str__(self) -> str:
        return self.client_id


class MailboxLetter(models.Model):
    """A letter that waits for its reader; gone once it was handed over."""

    client = models.ForeignKey(HubClient, on_delete=models.CASCADE, related_name="letters")
    seq = models.PositiveBigIntegerField()
    # The mailbox's bytes up to the end of this letter.
    last_byte = models.PositiveBigIntegerField(default=0, db_default=0)
    # JSON as it is to be sent.
    text = models.TextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["client", "seq"], name="mailbox_seq")]
        ordering = ["client", "seq"]

    def __str__(self) -> str:
        return f"letter {self.seq} for {self.client_id}"


class Minute(models.Model):
    """What one worker did in one minute; written again and again while it lasts."""

    at = models.DateTimeField(help_text="The minute's beginning.")
    worker = models.UUIDField()
    connections = models.PositiveIntegerField(default=0, help_text="Live at its end, or now.")
    messages = models.PositiveIntegerField(default=0, help_text="Stored, in and out.")
    answers = models.PositiveIntegerField(default=0, help_text="Turns that ended, however.")
    errors = models.PositiveIntegerField(default=0, help_text="Turns that failed or were cut, and faults of our own.")
    # How many answers took how long, by the buckets of `metrics.BOUNDS`: until the first words, and until the end.
    first_words = models.JSONField(default=list)
    whole_answers = models.JSONField(default=list)

    class Meta:
        default_permissions = ()  # the dashboard alone shows them
        constraints = [models.UniqueConstraint(fields=["at", "worker"], name="minute_of_worker")]
        ordering = ["at"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M}"


class AuditEntry(models.Model):
    """Something that somebody did and that must be found again: who, what, to what. Never changed."""

    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=32)
    # A user of the admin, an application, or the gateway itself, by name as it was then.
    actor = models.CharField(max_length=200)
    user = models.PositiveBigIntegerField(null=True, blank=True)
    subject = models.CharField(max_length=300, blank=True, default="", help_text="What it was done to.")
    details = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.actor}: {self.action}"
