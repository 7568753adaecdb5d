"""Applications and tokens: shown once, kept as hashes, revoked for good."""

import base64
import hashlib
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import check_password
from django.utils import timezone

from connections import services
from connections.audit import COMMAND_LINE
from connections.auth import Scope
from connections.models import AccessToken, Application

pytestmark = pytest.mark.django_db


def test_an_application_keeps_only_a_hash_of_its_secret() -> None:
    pipeline = uuid4()
    application, secret = services.create_application("shop", pipeline=pipeline)
    stored = Application.objects.get(appid=application.appid)
    assert (stored.name, stored.pipeline, stored.enabled) == ("shop", pipeline, True)
    assert secret not in stored.secret_hash
    assert check_password(secret, stored.secret_hash)
    assert not check_password(secret + "x", stored.secret_hash)


def test_appids_and_secrets_differ() -> None:
    made = [services.create_application("twin") for _ in range(3)]
    assert len({application.appid for application, _ in made}) == 3
    assert len({secret for _, secret in made}) == 3


def test_origins_are_kept_in_their_exact_form() -> None:
    application, _ = services.create_application("shop", origins=["https://B.example.com:443/", "http://a.test:81"])
    application.refresh_from_db()
    assert application.origins == ["http://a.test:81", "https://b.example.com"]


def test_what_is_no_origin_is_named() -> None:
    with pytest.raises(ValueError, match=r"example\.com is not an origin"):
        services.create_application("shop", origins=["example.com"])
    assert not Application.objects.exists()


def test_a_token_is_256_random_bits_and_kept_as_sha_256() -> None:
    application, _ = services.create_application("shop")
    token, plain = services.issue_token(application, [Scope.WRITE, Scope.READ], label="site", ttl=timedelta(days=1))
    stored = AccessToken.objects.get(pk=token.pk)
    assert len(base64.urlsafe_b64decode(plain + "=")) == 32
    assert stored.digest == hashlib.sha256(plain.encode()).hexdigest()
    assert stored.scopes == ["read", "write"]
    assert stored.label == "site"
    assert stored.expires_at is not None
    assert timedelta(hours=23) < stored.expires_at - timezone.now() <= timedelta(days=1)


def test_a_token_without_a_lifetime_does_not_expire() -> None:
    application, _ = services.create_application("shop")
    assert services.issue_token(application)[0].expires_at is None


def test_a_revocation_keeps_its_first_time() -> None:
    application, _ = services.create_application("shop")
    token, _ = services.issue_token(application)
    services.revoke_token(token, by=COMMAND_LINE)
    first = token.revoked_at
    services.revoke_token(token, by=COMMAND_LINE)
    assert first is not None
    assert token.revoked_at == first


def test_a_secret_is_exchanged_for_a_token_of_thirty_days() -> None:
    application, secret = services.create_application("weather")
    exchanged = services.exchange_secret(application.appid, secret)
    assert exchanged is not None
    token, plain = exchanged
    assert token.digest == hashlib.sha256(plain.encode()).hexdigest()
    assert token.expires_at is not None
    assert timedelta(days=29, hours=23) < token.expires_at - timezone.now() <= timedelta(days=30)
    for appid, wrong in ((application.appid, "x"), ("app_unknown", secret), ("", "")):
        assert services.exchange_secret(appid, wrong) is None
    Application.objects.update(enabled=False)
    assert services.exchange_secret(application.appid, secret) is None


def test_of_too_many_exchanged_tokens_the_oldest_is_revoked() -> None:
    application, secret = services.create_application("weather")
    by_hand, _ = services.issue_token(application, label="by hand")
    tokens = [
        services.issue_token(application, label=services.EXCHANGED, ttl=services.EXCHANGED_FOR)[0]
        for _ in range(services.EXCHANGED_TOKENS)
    ]
    exchanged = services.exchange_secret(application.appid, secret)
    assert exchanged is not None
    good = AccessToken.objects.filter(revoked_at=None).order_by("id")
    assert list(good) == [by_hand, *tokens[1:], exchanged[0]]
