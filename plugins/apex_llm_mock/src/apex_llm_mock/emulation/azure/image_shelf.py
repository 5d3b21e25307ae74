"""Images that can be fetched by a URL, as long as there are not too many newer ones."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from aiohttp import web

#: So many are kept.
LARGEST = 64


class ImageShelf:
    """Keeps PNG images under *path*, which begins and ends with a slash."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._images: OrderedDict[str, bytes] = OrderedDict()

    def put(self, image: bytes) -> str:
        """Keep *image* and return the path of its URL."""
        name = f"{blake2b(image, digest_size=12).hexdigest()}.png"
        self._images[name] = image
        while len(self._images) > LARGEST:
            self._images.popitem(last=False)
        return f"{self._path}{name}"

    def route(self) -> web.RouteDef:
        """Return the route by which images are fetched."""
        return web.get(f"{self._path}{{name}}", self._fetch)

    async def _fetch(self, request: web.Request) -> web.Response:
        image = self._images.get(request.match_info["name"])
        return web.Response(status=404) if image is None else web.Response(body=image, content_type="image/png")


__all__ = ["LARGEST", "ImageShelf"]
