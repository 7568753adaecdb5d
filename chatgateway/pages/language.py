"""Which language a page is in: `?lang=`, which is remembered, else the cookie's, else the browser's.

Staff's pages are in English: half of their words are nobody's but ours, and Django's own would be the other half.
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

ARGUMENT = "lang"
REMEMBERED = 365 * 24 * 3600  # seconds
LONGEST = 20  # characters of a language's code
STAFF, OF_STAFF = "/admin", "en"


def asked_for(request: HttpRequest) -> str | None:
    """Return the language of ours that an address asks for, None where it asks for none."""
    code = request.GET.get(ARGUMENT, "")
    if not code or len(code) > LONGEST:
        return None
    try:
        return translation.get_supported_language_variant(code.lower())
    except LookupError:
        return None


def language_of(request: HttpRequest) -> str:
    """Return the language in which `request` is answered, whether a middleware has found it or not."""
    return asked_for(request) or translation.get_language_from_request(request)


class LanguageMiddleware(LocaleMiddleware):
    """Django's, with an argument of the address, which counts more and is remembered."""

    def process_request(self, request: HttpRequest) -> None:
        """Choose the language."""
        super().process_request(request)
        if asked := OF_STAFF if request.path_info.startswith(STAFF) else asked_for(request):
            translation.activate(asked)
            request.LANGUAGE_CODE = asked

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Remember the language that was asked for."""
        if asked := asked_for(request):
            response.set_cookie(
                settings.LANGUAGE_COOKIE_NAME,
                asked,
                max_age=REMEMBERED,
                secure=settings.LANGUAGE_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        return super().process_response(request, response)
