"""Scripts and styles under a name that changes when any of them does: `/static/<version>/…`.

Modules import one another by relative paths, so a page gets all of its files from one version, and keeps them for good.
What is asked for without a version, or with another one (a page of before the update, or a rolling restart's other
worker), is this server's file, and nobody keeps that. Nor what was changed since this process began: its version is
that of another time, as between an upgrade's `git pull` and its restart.
"""

import hashlib
import re
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chatgateway.middleware import InLoop, Next

PREFIX = "/static/"
FOREVER = "public, max-age=31536000, immutable"
ANEW = "no-cache"  # kept to be compared, never used unasked
_VERSIONED = re.compile(rf"{PREFIX}(?P<version>[0-9a-f]{{12}})/(?P<rest>.*)", re.DOTALL)


def assets_version(folders: Iterable[Path], packages: Iterable[str]) -> str:
    """Return what stands for the state of all static files: ours by their bytes, a package's by its version."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = file.read_bytes()
            digest.update(f"{file.relative_to(folder).as_posix()}\0{len(data)}\0".encode() + data)
    for package in packages:
        digest.update(f"{package}\0{version(package)}\0".encode())
    return digest.hexdigest()[:12]


class VersionedAssets(InLoop):
    """Take the version out of a file's path, for what serves it, and say how long the file may be kept."""

    def __init__(self, get_response: Next) -> None:
        super().__init__(get_response)
        self._began = time.time()
        self._places: dict[str, Path] = {}  # where files lie; as many as were found

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PREFIX):
            return await self._next(request)
        named = _VERSIONED.fullmatch(request.path_info)
        if named is not None:
            request.path_info = PREFIX + named["rest"]
        response = await self._next(request)
        if response.status_code in (200, 206, 304):
            current = named is not None and named["version"] == settings.ASSETS_VERSION
            kept = current and self._is_as_it_was(request.path_info.removeprefix(PREFIX))
            response["Cache-Control"] = FOREVER if kept else ANEW
        return response

    def _is_as_it_was(self, name: str) -> bool:
        """Tell whether a file that was found has not been changed since the start."""
        place = self._places.get(name)
        if place is None:
            found = finders.find(name)
            if found is None:
                return False
            place = self._places[name] = Path(found)
        try:
            return place.stat().st_ctime <= self._began
        except OSError:
            return False
