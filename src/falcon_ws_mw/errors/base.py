"""The root of all errors of the library, and how they quote what they found."""

from __future__ import annotations


class FalconWebSocketError(Exception):
    """The root of every error that this library raises."""


class ConfigurationError(FalconWebSocketError, ValueError):
    """The app is put together in a way that cannot work.

    Raised while the app is assembled or when it starts; where that was impossible, the first
    handshake is refused and the error is logged.
    """


def without_password(url: object) -> str:
    """A URL that may be shown: with nothing in front of its last '@' but the scheme."""
    scheme, _, rest = str(url).partition('://')
    return f'{scheme}://{rest.rpartition("@")[2]}'


def cut(text: str, limit: int) -> str:
    """The text, cut to a length that is safe to log and to send."""
    return text if len(text) <= limit else f'{text[:limit]}…'


def shortened(value: object, limit: int = 80) -> str:
    """The value as a literal, cut to a length that is safe to log and to send."""
    text = repr(value)
    return text if len(text) <= limit else f'{text[:limit]}…'
