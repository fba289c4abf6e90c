"""The page of the chat: one file, with its script and its style inside."""

import base64
import hashlib
from pathlib import Path
import re

import falcon
from falcon.asgi import Request, Response


class Page:
    """`/`: serves `page.html`, which is read once, at start."""

    def __init__(self) -> None:
        self._html = Path(__file__).with_name('page.html').read_text(encoding='utf-8')
        # The browser runs the script and the style that were in the file at start, and nothing
        # that anybody might get into the page; and it talks to this server only.
        self._policy = '; '.join(
            (
                "default-src 'none'",
                f'script-src {_hash_content(self._html, "script")}',
                f'style-src {_hash_content(self._html, "style")}',
                "connect-src 'self'",
                'img-src data:',
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )

    async def on_get(self, req: Request, resp: Response) -> None:
        """Serve the page."""
        resp.content_type = falcon.MEDIA_HTML
        resp.text = self._html
        resp.set_header('Content-Security-Policy', self._policy)
        resp.cache_control = ['no-cache']


def _hash_content(html: str, tag: str) -> str:
    """Return the CSP source (CSP Level 3, 2.3.1) of the one inline element of that name."""
    content = re.search(f'<{tag}>(.*?)</{tag}>', html, re.DOTALL)
    if content is None:
        raise ValueError(f'page.html has no <{tag}> element')
    digest = hashlib.sha256(content[1].encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
