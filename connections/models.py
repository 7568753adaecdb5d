"""The tables of who is here and who may be. They name pipelines and sessions by UUID, never by foreign key."""

import uuid

from django.db import models


class Application(models.Model):
    """Somebody's program, with the bounds of what its tokens may do."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    appid = models.CharField(max_length=32, unique=True, editable=False)
    # Django's password hash of the secret, which is shown once.
    secret_hash = models.CharField(max_length=200, editable=False)
    pipeline = models.UUIDField(null=True, blank=True, help_text="Its pipeline; empty: any.")
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


class Connection(models.Model):
    """A socket, live until `ended_at`."""

    uuid = models.UUIDField(unique=True)
    worker = models.UUIDField()
    wire = models.CharField(max_length=16)
    pipeline = models.UUIDField(null=True, blank=True)
    session = models.UUIDField(null=True, blank=True)
    session_type = models.CharField(max_length=8, blank=True, default="")
    application = models.UUIDField(null=True, blank=True)
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
            models.Index(fields=["-connected_at"], name="connection_latest"),
        ]

    def __str__(self) -> str:
        return f"{self.wire} {self.uuid}"
