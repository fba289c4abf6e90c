"""The page that shows how a browser keeps a socket alive by new tokens."""

from pathlib import Path

import falcon
from falcon.asgi import Request, Response


class Page:
    """`/`: serves `page.html`."""

    def __init__(self) -> None:
        self._html = Path(__file__).with_name('page.html').read_text(encoding='utf-8')

    async def on_get(self, req: Request, resp: Response) -> None:
        """Serve the page."""
        resp.content_type = falcon.MEDIA_HTML
        resp.text = self._html
        resp.cache_control = ['no-cache']
