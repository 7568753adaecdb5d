"""What the settings say, in the shape that each part takes it in."""

from datetime import timedelta

from django.conf import settings

from connections.mail import MailLimits
from connections.registry import LeaseLimits
from integrations.parts import WireOptions


def wire_options() -> WireOptions:
    """Return what the settings say of the wires."""
    return WireOptions(
        open_access=settings.ACCESS_MODE == "open",
        proxied_open_access=settings.ALLOW_OPEN_ACCESS,
        allowed_hosts=tuple(settings.ALLOWED_HOSTS),
        allowed_origins=settings.ALLOWED_ORIGINS,
        trusted_proxies=settings.TRUSTED_PROXIES,
        authenticate_timeout=settings.AUTHENTICATE_TIMEOUT,
        close_timeout=settings.CLOSE_TIMEOUT,
        small_frame_bytes=settings.MAX_SMALL_FRAME_BYTES,
        outbound_bytes=settings.MAX_OUTBOUND_BYTES,
        connections=settings.MAX_CONNECTIONS,
        public_url=settings.PUBLIC_URL,
        messages=settings.MAX_MESSAGES if settings.RATE_LIMITS else 0,
        bytes=settings.MAX_BYTES,
        calls_of_address=settings.MAX_CALLS_PER_ADDRESS,
        turns_of_session=settings.MAX_TURNS_PER_SESSION,
        turns_of_application=settings.MAX_TURNS_PER_APPLICATION,
    )


def lease_limits() -> LeaseLimits:
    """Return what the settings say of workers' leases."""
    return LeaseLimits(
        beat=settings.BEAT,
        lease=settings.LEASE,
        scan=settings.SCAN,
        kept_for=timedelta(days=settings.CONNECTION_DAYS),
    )


def mail_limits() -> MailLimits:
    """Return what the settings say of mailboxes."""
    return MailLimits(
        letters=settings.MAILBOX_LETTERS,
        letters_connected=settings.MAILBOX_LETTERS_CONNECTED,
        bytes=settings.MAILBOX_BYTES,
        letters_for=timedelta(days=settings.MAILBOX_DAYS),
        clients=settings.MAX_HUB_CLIENTS,
        clients_for=timedelta(days=settings.HUB_CLIENT_DAYS),
    )
