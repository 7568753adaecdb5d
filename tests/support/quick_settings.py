"""The gateway's settings with secrets that are quickly tried: how slowly is not what is tested."""

from chatgateway.settings import *  # noqa: F403  it is a settings module

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
