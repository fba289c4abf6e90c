"""What carries messages between processes, chosen by the scheme of a URL."""

from __future__ import annotations

from falcon_ws_mw.backends.base import Backend, open_backend

__all__ = ['Backend', 'open_backend']
