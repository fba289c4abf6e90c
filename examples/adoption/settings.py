"""What can be set, and how long a silence may last."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""What a server serves."""

MAX_SILENT_ROUNDS = 3
"""How many heartbeats in a row a client may leave unanswered before it is closed."""

CLOSE_SILENT = 4408
"""The close code for a client that stayed silent: 4000 + the status of a request time-out."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How fast the app's clocks run.

    Attributes:
        heartbeat_seconds: After this long without a message a client is asked whether it lives.
        tick_seconds: The time between two ticks of `/ticker`.
    """

    heartbeat_seconds: float = 30.0
    tick_seconds: float = 5.0


DEFAULTS = Settings()
"""What is served unless something else is said."""
