"""How long to pause before something is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field
import random


@dataclass(slots=True)
class Backoff:
    """Pauses that grow with each failure, and are not the same for all who failed together.

    Args:
        first_seconds: The pause after the first failure (default 0.1).
        max_seconds: The longest pause; each is twice the one before (default 30).
        reset_after_seconds: A run of this length makes the next pause the first again
            (default 30).
    """

    first_seconds: float = 0.1
    max_seconds: float = 30.0
    reset_after_seconds: float = 30.0
    _next_seconds: float = field(default=0.0, init=False)

    def pause_after(self, ran_seconds: float) -> float:
        """The seconds to pause after a run of that length.

        Jittered down to as little as half, so that workers which crashed together do not come
        back together.
        """
        if ran_seconds >= self.reset_after_seconds or not self._next_seconds:
            self._next_seconds = self.first_seconds
        pause = self._next_seconds
        self._next_seconds = min(pause * 2, self.max_seconds)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret hangs on it
