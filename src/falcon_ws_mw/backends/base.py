"""The choice of a backend by URL.

`memory://` is the reference: one process, where a call has had its whole effect when it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from falcon_ws_mw.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Backend:
    """How far the manager's calls reach, and what they promise.

    Attributes:
        url: The URL it was chosen by.
        guarantee: Its delivery guarantee, in words.
    """

    url: str
    guarantee: str


_MEMORY = (
    'One process. A message is handed to every member that joined before it, in the order of the '
    'calls, at most once.'
)


def open_backend(url: str) -> Backend:
    """The backend that a URL names.

    Raises:
        ConfigurationError: If it names none.
    """
    if urlsplit(url).scheme != 'memory':
        raise ConfigurationError(f"backend={url!r}: expected 'memory://', the one backend there is")
    return Backend(url, _MEMORY)
