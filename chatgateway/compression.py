"""What a widget loads, compressed: it weighs on every page that it is put on. Scripts and styles are, once each."""

import gzip

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from chatgateway.middleware import InLoop, Next

COMPRESSED = "/static/chatgateway/"
KINDS = ("text/javascript", "application/javascript", "text/css")


class CompressedStatic(InLoop):
    """Compress what ServeStatic serves of ours for those who take it so; each state of a file is kept."""

    def __init__(self, get_response: Next) -> None:
        super().__init__(get_response)
        self._kept: dict[str, tuple[str, bytes]] = {}  # path → its state and its bytes; as many as there are files

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = await self._next(request)
        if not request.path_info.startswith(COMPRESSED) or not _may_be_smaller(response):
            return response
        patch_vary_headers(response, ["Accept-Encoding"])
        if not _takes_it(request):
            return response
        state = response.headers.get("Last-Modified", "")
        kept = self._kept.get(request.path_info)
        if kept is None or kept[0] != state:
            parts = [part async for part in response]  # type: ignore[attr-defined]  # it streams
            kept = self._kept[request.path_info] = (state, gzip.compress(b"".join(parts), mtime=0))
        response.close()
        headers = {name: value for name, value in response.items() if name not in ("Content-Length", "ETag")}
        return HttpResponse(kept[1], headers={**headers, "Content-Encoding": "gzip"})


def compress(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Make a finished answer smaller for whoever takes it so; of one with a secret its size would tell (BREACH)."""
    patch_vary_headers(response, ["Accept-Encoding"])
    if _takes_it(request):
        response.content = gzip.compress(response.content, mtime=0)
        response["Content-Encoding"] = "gzip"
    return response


def _takes_it(request: HttpRequest) -> bool:
    return request.method == "GET" and "gzip" in request.headers.get("Accept-Encoding", "")


def _may_be_smaller(response: HttpResponseBase) -> bool:
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    return response.status_code == 200 and kind in KINDS and "Content-Encoding" not in response.headers
