"""Settings, read once from the environment or `.env`; `.env.example` lists every name.

Sections: where things are, security, applications, database, layer, web, model, WeChat, e-mail, limits, logs.
A wrong value raises ImproperlyConfigured with one sentence that names the variable.
"""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import environ
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured

from chatgateway import logging as gateway_logging
from chatgateway.assets import assets_version
from chatgateway.environment import (
    LOOPBACK_ORIGIN,
    SHORTEST_KEY,
    canonical_origin,
    is_loopback,
    is_network,
    is_origin,
    needs_database,
    read_env_file,
    read_or_make_secret_key,
)
from chatgateway.unfold import UNFOLD  # noqa: F401  a setting of the admin's theme
from connections.session_names import session_name

env = environ.Env()

# --- Where things are ------------------------------------------------------------------------

BASE_DIR = Path(__file__).resolve().parent.parent
ENV_FILE_NAMES = read_env_file(env, BASE_DIR / ".env")


def _whole_number(name: str, default: int, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return the environment's whole number `name`, at least `least` and at most `most`."""
    try:
        value = env.int(name, default=default)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        bounds = f"at least {least}" + (f" and at most {most}" if value > most else "")
        raise ImproperlyConfigured(f"{name} must be a whole number of {bounds}, not {env.str(name)!r}.")
    return int(value)


def _seconds(name: str, default: float) -> float:
    """Return the environment's duration `name` in seconds, more than zero."""
    try:
        value = env.float(name, default=default)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise ImproperlyConfigured(f"{name} must be a number of seconds above zero, not {env.str(name)!r}.")
    return float(value)


def _choice(name: str, *allowed: str) -> str:
    """Return the environment's `name`, one of `allowed`; the first is the default."""
    value = env.str(name, default=allowed[0]) or allowed[0]
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}, not {value!r}.")
    return value


def _switch(name: str, default: bool) -> bool:
    """Return the environment's yes or no `name`."""
    value = env.str(name, default="").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    if value:
        raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}.")
    return default


def _is_url(text: str, *schemes: str) -> bool:
    """Tell whether `text` can be read as a URL of one of `schemes`."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


HOST = env.str("HOST", default="127.0.0.1") or "127.0.0.1"
PORT = _whole_number("PORT", 8000, least=1)
WORKERS = _whole_number("WORKERS", 1, least=1)
DATA_DIR = Path(env.str("DATA_DIR", default="") or BASE_DIR / "data").resolve()
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/")
if needs_database(sys.argv) and not env.str("DATABASE_URL", default="") and not DATA_DIR.exists():
    raise ImproperlyConfigured(f"There is no DATA_DIR {DATA_DIR}: set the gateway's, or run `manage.py migrate` first.")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "uploads": {
        "BACKEND": "conversations.uploads.storage.UploadStorage",
        "OPTIONS": {"location": DATA_DIR / "uploads"},
    },
}
DEFAULT_PIPELINE = "00000000-0000-4000-8000-000000000001"

# --- Security --------------------------------------------------------------------------------

DEBUG = _switch("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="") or read_or_make_secret_key(DATA_DIR)
if len(SECRET_KEY) < SHORTEST_KEY:
    raise ImproperlyConfigured(f"SECRET_KEY must have at least {SHORTEST_KEY} characters, random ones.")
ACCESS_MODE = _choice("ACCESS_MODE", "open", "token")
ALLOW_OPEN_ACCESS = _switch("ALLOW_OPEN_ACCESS", default=False)
ALLOW_PRIVATE_UPSTREAMS = _switch("ALLOW_PRIVATE_UPSTREAMS", default=ACCESS_MODE == "open")
ALLOWED_ORIGINS = frozenset(env.list("ALLOWED_ORIGINS", default=[]))
TRUSTED_PROXIES = tuple(env.list("TRUSTED_PROXIES", default=[]))
for _proxy in TRUSTED_PROXIES:
    if not is_network(_proxy):
        raise ImproperlyConfigured(
            f"TRUSTED_PROXIES must list addresses or networks such as 10.0.0.0/8, not {_proxy!r}."
        )
for _origin in ALLOWED_ORIGINS | ({PUBLIC_URL} if PUBLIC_URL else set()):
    if not is_origin(_origin):
        raise ImproperlyConfigured(
            f"ALLOWED_ORIGINS and PUBLIC_URL must look like https://example.com, not {_origin!r}."
        )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
if not is_loopback(HOST) and HOST not in {"0.0.0.0", "::"}:  # noqa: S104  compared, not bound
    ALLOWED_HOSTS = [*ALLOWED_HOSTS, HOST]
if PUBLIC_URL:
    ALLOWED_HOSTS = [*ALLOWED_HOSTS, urlsplit(PUBLIC_URL).hostname or ""]
    CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
    ALLOWED_ORIGINS |= {PUBLIC_URL}  # behind a proxy that ends TLS, our own pages look foreign
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
# What a page of ours may do (S10): scripts and styles of its own files only, nothing from elsewhere. `connect-src`
# 'self' is this host's WebSockets too.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
    },
}
# What other people's pages need more, by the beginning of a path.
CONTENT_SECURITY_POLICIES: dict[str, dict[str, list[str]]] = {
    # The theme's Alpine makes functions of its attributes' text, and its colours and bars are styles in the page.
    "/admin/": {"script-src": [SELF, UNSAFE_EVAL], "style-src": [SELF, UNSAFE_INLINE]},
    # Swagger's page has a style of its own.
    "/api/docs/": {"style-src": [SELF, UNSAFE_INLINE]},
}
# Whose pages may read what the wires and the widget's files answer. They send no cookies.
CORS_ALLOWED_ORIGINS = sorted({canonical_origin(_origin) for _origin in ALLOWED_ORIGINS})
CORS_ALLOWED_ORIGIN_REGEXES = [LOOPBACK_ORIGIN] if ACCESS_MODE == "open" else []
CORS_URLS_REGEX = r"/(api/v1/|chat(/a?sync(/|$)|$)|health$|wechat/|wecom/|static/([0-9a-f]{12}/)?chatgateway/chat/)"
CORS_ALLOW_HEADERS = [*default_headers, "x-request-id", "x-resume-token"]
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-ID"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Applications ----------------------------------------------------------------------------

INSTALLED_APPS = [
    "chatgateway",  # before staticfiles: its runserver is Daphne's with HOST and PORT
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "corsheaders",
    "csp",
    "rest_framework",
    "adrf",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_structlog",
    "conversations",
    "connections",
    "integrations",
]
MIDDLEWARE = [
    "chatgateway.middleware.OpenAccessGuard",
    "django.middleware.security.SecurityMiddleware",
    "chatgateway.middleware.PagePolicy",
    "corsheaders.middleware.CorsMiddleware",
    "chatgateway.assets.VersionedAssets",
    "chatgateway.compression.CompressedStatic",
    "servestatic.middleware.ServeStaticMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "chatgateway.pages.language.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "chatgateway.urls"
ASGI_APPLICATION = "chatgateway.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database --------------------------------------------------------------------------------

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASE_URL = env.str("DATABASE_URL", default="") or f"sqlite:///{DATA_DIR / 'gateway.sqlite3'}"
# Seconds that a write waits for a lock or a connection; an error must reach the client within 5 s (R11).
LOCK_TIMEOUT = _seconds("LOCK_TIMEOUT", 4.0)


def _database(url: str) -> dict[str, Any]:
    """Return Django's settings for `url`: sqlite:///… or postgres://…, nothing else."""
    scheme = url.partition(":")[0]
    database: dict[str, Any] = {}
    if scheme in {"sqlite", "postgres", "postgresql"}:
        with suppress(ValueError, KeyError, TypeError, ImproperlyConfigured):
            database = dict(env.db_url_config(url))
    if database.get("NAME") in {None, "", ":memory:"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must look like sqlite:////folder/file.sqlite3 or postgres://user:password@host:5432/name."
        )
    if scheme == "sqlite":
        database["CONN_MAX_AGE"] = None
        database["OPTIONS"] = {
            "timeout": LOCK_TIMEOUT,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16000;",
        }
    else:
        database["CONN_MAX_AGE"] = 0
        database["CONN_HEALTH_CHECKS"] = True  # a pooled connection may have died with its server
        database["OPTIONS"] = {
            # A server whose machine is gone says nothing: its connections are given up as soon as a write is.
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "tcp_user_timeout": int(LOCK_TIMEOUT * 1000),
            **database.get("OPTIONS", {}),
            "connect_timeout": 4,
            # By this name others find what a worker that fell asleep has open (`connections.jobs.EndWorker`).
            "application_name": session_name(socket.gethostname(), os.getpid()),
            "options": f"-c lock_timeout={int(LOCK_TIMEOUT * 1000)} -c statement_timeout=30000",
            # The pool's pauses between tries double up to `reconnect_timeout`, then whoever waits has it begin anew.
            "pool": {"min_size": 1, "max_size": 12, "timeout": LOCK_TIMEOUT, "reconnect_timeout": LOCK_TIMEOUT},
        }
    return database


DATABASES = {"default": _database(DATABASE_URL)}

# --- Layer -----------------------------------------------------------------------------------

REDIS_URL = env.str("REDIS_URL", default="")
if REDIS_URL and not _is_url(REDIS_URL, "redis", "rediss", "unix"):
    raise ImproperlyConfigured("REDIS_URL must look like redis://host:6379/0, rediss://… or unix:///path.")
# Seconds that Redis may take before it counts as away; the workers go on alone then.
LAYER_TIMEOUT = _seconds("LAYER_TIMEOUT", 2.0)
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL:
    _redis = {"address": REDIS_URL, "socket_timeout": LAYER_TIMEOUT, "socket_connect_timeout": LAYER_TIMEOUT}
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [_redis]},
    }

# --- Web -------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
TIME_ZONE = env.str("TIME_ZONE", default="UTC") or "UTC"
if TIME_ZONE not in available_timezones():
    raise ImproperlyConfigured(f"TIME_ZONE must be a name such as UTC or Asia/Shanghai, not {TIME_ZONE!r}.")
USE_TZ = True
ASSETS_VERSION = assets_version(
    [BASE_DIR / app / "static" for app in ("chatgateway", "connections", "conversations")],
    packages=["django", "django-unfold", "djangorestframework", "drf-spectacular-sidecar"],
)
STATIC_URL = f"static/{ASSETS_VERSION}/"
SERVESTATIC_STATIC_PREFIX = "/static/"  # where VersionedAssets has them looked for
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_USE_FINDERS = True  # no collectstatic step: the first start has nothing to prepare
SERVESTATIC_AUTOREFRESH = False
SERVESTATIC_ALLOW_ALL_ORIGINS = False  # CORS_URLS_REGEX says which files other sites' pages may read
LOGIN_URL = "/admin/login/"
LOGIN_REDIRECT_URL = "/admin/"
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "integrations.rest.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Chat gateway",
    "DESCRIPTION": "One AI chat service for the clients that you have: REST calls beside its WebSocket.",
    "VERSION": "0.1.0",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "chatgateway.api.probes.add_probes",
    ],
    "ENUM_NAME_OVERRIDES": {"Opinion": [("up", "up"), ("down", "down")]},
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "APPEND_COMPONENTS": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    "SECURITY": [{"bearer": []}, {}],  # open mode asks for no token
}

# --- Model -----------------------------------------------------------------------------------

OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="").rstrip("/")
OPENAI_API_KEY = env.str("OPENAI_API_KEY", default="")
OPENAI_MODEL = env.str("OPENAI_MODEL", default="")
if OPENAI_BASE_URL and not _is_url(OPENAI_BASE_URL, "http", "https"):
    raise ImproperlyConfigured("OPENAI_BASE_URL must look like https://host/v1.")
if bool(OPENAI_BASE_URL) != bool(OPENAI_MODEL):
    raise ImproperlyConfigured("OPENAI_BASE_URL and OPENAI_MODEL must be set together.")
# Time limits of R12, in seconds.
MODEL_CONNECT_TIMEOUT = _seconds("MODEL_CONNECT_TIMEOUT", 5.0)
MODEL_FIRST_TOKEN_TIMEOUT = _seconds("MODEL_FIRST_TOKEN_TIMEOUT", 20.0)
MODEL_IDLE_TIMEOUT = _seconds("MODEL_IDLE_TIMEOUT", 15.0)
MODEL_CONTEXT_TOKENS = _whole_number("MODEL_CONTEXT_TOKENS", 3000, least=100)
TURN_DEADLINE = _seconds("TURN_DEADLINE", 55.0)
# Calls of one process at once; one more is refused as busy.
MODEL_CALLS = _whole_number("MODEL_CALLS", 200, least=1)
# After so many failures in a row a model is left alone for so many seconds; then one call finds out.
MODEL_FAILURES = _whole_number("MODEL_FAILURES", 5, least=1)
MODEL_REST = _seconds("MODEL_REST", 30.0)

# --- WeChat ----------------------------------------------------------------------------------

WECHAT_APPID = env.str("WECHAT_APPID", default="")
WECHAT_APP_SECRET = env.str("WECHAT_APP_SECRET", default="")
WECHAT_API_BASE = env.str("WECHAT_API_BASE", default="https://api.weixin.qq.com").rstrip("/")
if not _is_url(WECHAT_API_BASE, "http", "https"):
    raise ImproperlyConfigured("WECHAT_API_BASE must look like https://api.weixin.qq.com.")
WECHAT_CONTENT_CHECK = _switch("WECHAT_CONTENT_CHECK", default=False)
if WECHAT_CONTENT_CHECK and not (WECHAT_APPID and WECHAT_APP_SECRET):
    raise ImproperlyConfigured("WECHAT_CONTENT_CHECK needs WECHAT_APPID and WECHAT_APP_SECRET.")
# In token mode a socket has this long to log in.
WECHAT_LOGIN_TIMEOUT = _seconds("WECHAT_LOGIN_TIMEOUT", 30.0)

# --- E-mail ----------------------------------------------------------------------------------

EMAIL_URL = env.str("EMAIL_URL", default="consolemail://") or "consolemail://"
EMAIL_FROM = env.str("EMAIL_FROM", default="")


def _email(url: str) -> dict[str, Any]:
    """Return Django's settings for `url`."""
    config: dict[str, Any] = {}
    if _is_url(url, *EMAIL_SCHEMES):
        config = dict(env.email_url_config(url))
    if not config or (config["EMAIL_BACKEND"].endswith("smtp.EmailBackend") and not config["EMAIL_HOST"]):
        raise ImproperlyConfigured(
            "EMAIL_URL must look like smtp+tls://user:password@host:587, smtp+ssl://…, smtp://… or consolemail://."
        )
    return config


EMAIL_SCHEMES = ("smtp", "smtp+tls", "smtp+ssl", "consolemail", "filemail", "dummymail", "memorymail")
_mail = _email(EMAIL_URL)
EMAIL_BACKEND: str = _mail["EMAIL_BACKEND"]
EMAIL_USE_TLS: bool = _mail.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL: bool = _mail.get("EMAIL_USE_SSL", False)
EMAIL_HOST: str = _mail["EMAIL_HOST"] or ""
EMAIL_PORT: int = _mail["EMAIL_PORT"] or (465 if EMAIL_USE_SSL else 587 if EMAIL_USE_TLS else 25)
EMAIL_HOST_USER: str = _mail["EMAIL_HOST_USER"] or ""
EMAIL_HOST_PASSWORD: str = _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_FILE_PATH: str = _mail["EMAIL_FILE_PATH"]
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = EMAIL_FROM or (EMAIL_HOST_USER if "@" in EMAIL_HOST_USER else "chatgateway@localhost")

# --- Limits ----------------------------------------------------------------------------------

MAX_FRAME_BYTES = _whole_number("MAX_FRAME_BYTES", 1024 * 1024, least=1024)
# The wires for small screens: contact, 易事厅 and WeChat.
MAX_SMALL_FRAME_BYTES = _whole_number("MAX_SMALL_FRAME_BYTES", 64 * 1024, least=1024)
# One file that is sent; what comes inline in a frame is bounded by the frame.
MAX_UPLOAD_BYTES = _whole_number("MAX_UPLOAD_BYTES", 10 * 1_048_576, least=1024)
RATE_LIMITS = _choice("RATE_LIMITS", "on", "off") == "on"
# Of a connection, in a second; of an address, a session and an application, in a minute.
MAX_MESSAGES = _whole_number("MAX_MESSAGES", 2_000, least=1)
MAX_BYTES = _whole_number("MAX_BYTES", 8_388_608, least=1024)
MAX_CALLS_PER_ADDRESS = _whole_number("MAX_CALLS_PER_ADDRESS", 60_000, least=1)
MAX_TURNS_PER_SESSION = _whole_number("MAX_TURNS_PER_SESSION", 6_000, least=1)
MAX_TURNS_PER_APPLICATION = _whole_number("MAX_TURNS_PER_APPLICATION", 120_000, least=1)
MAX_CONNECTIONS = _whole_number("MAX_CONNECTIONS", 20_000, least=1)
# Of what is open and answered for one address; 0 for as many as it wants.
MAX_CONNECTIONS_PER_ADDRESS = _whole_number("MAX_CONNECTIONS_PER_ADDRESS", 10_000)
# A socket is pinged so often, and gone when it does not answer for so long: together within 45 s (R7).
PING_INTERVAL = _seconds("PING_INTERVAL", 20.0)
PING_TIMEOUT = _seconds("PING_TIMEOUT", 20.0)
MAX_OUTBOUND_BYTES = _whole_number("MAX_OUTBOUND_BYTES", 1024 * 1024, least=1024)
DELTA_INTERVAL = _seconds("DELTA_INTERVAL", 0.05)
# For the whole head of an HTTP request or handshake, also for a connection that says nothing.
REQUEST_TIMEOUT = _seconds("REQUEST_TIMEOUT", 10.0)
AUTHENTICATE_TIMEOUT = _seconds("AUTHENTICATE_TIMEOUT", 10.0)
# A close frame has this long to get through to a slow reader; then the connection is reset (R6: 10 s at most).
CLOSE_TIMEOUT = _seconds("CLOSE_TIMEOUT", 5.0)
# A worker's lease: it counts up every BEAT seconds and is dead after LEASE seconds without change.
BEAT = _seconds("BEAT", 5.0)
LEASE = _seconds("LEASE", 20.0)
SCAN = _seconds("SCAN", 2.0)
if LEASE <= 2 * BEAT:
    raise ImproperlyConfigured("LEASE must be more than twice BEAT, or a worker that is only busy counts as dead.")
# How long ended connections stay in the list.
CONNECTION_DAYS = _whole_number("CONNECTION_DAYS", 30, least=1, most=36_500)
# How long the audit trail goes back.
AUDIT_DAYS = _whole_number("AUDIT_DAYS", 365, least=1, most=36_500)
# Answers in flight get this long after SIGTERM (R14).
DRAIN_TIMEOUT = _seconds("DRAIN_TIMEOUT", 25.0)
# A conversation that a person holds goes back to the bot when he has said nothing in it for so long.
HOLD_IDLE = _seconds("HOLD_IDLE", 1800.0)
# Wires on which nothing listens to a session: there a person's words go out of the outbox, as the wire's answers do.
OUTBOX_WIRES = frozenset({"postoffice"})
# What waits for one client of the hub: letters while it is away and while it is connected, their bytes, and how long.
MAILBOX_LETTERS = _whole_number("MAILBOX_LETTERS", 1_000, least=1)
MAILBOX_LETTERS_CONNECTED = _whole_number("MAILBOX_LETTERS_CONNECTED", 10_000, least=1)
MAILBOX_BYTES = _whole_number("MAILBOX_BYTES", 16_777_216, least=1024)
MAILBOX_DAYS = _whole_number("MAILBOX_DAYS", 7, least=1, most=36_500)
# Clients of one application that the hub knows, and the days that one stays known without a connection.
MAX_HUB_CLIENTS = _whole_number("MAX_HUB_CLIENTS", 100_000, least=1)
HUB_CLIENT_DAYS = _whole_number("HUB_CLIENT_DAYS", 90, least=1, most=36_500)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_FRAME_BYTES

# --- Logs ------------------------------------------------------------------------------------

LOGGING_CONFIG = "chatgateway.logging.configure"
LOGGING = gateway_logging.config(json_lines=_choice("LOG_FORMAT", "text", "json") == "json")
