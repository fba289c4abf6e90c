"""What the log says of clients and backends: few lines, and nothing that anybody said.

There is one logger, `falcon_ws_mw`. A line about a client carries no payload, no token and no
control character. Of lines of one kind there is at most one in a second; the next one says how many
were left out. Facts stand in the record too, as attributes (`extra`).
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

logger = logging.getLogger('falcon_ws_mw')

QUIET_SECONDS: Final = 1.0
"""The least time between two lines of one kind."""

_MAX_QUOTED: Final = 200


class ClientFaults:
    """Lines about what clients do, limited in rate by their kind."""

    __slots__ = ('_last', '_left_out')

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warn(
        self, kind: str, message: str, *args: object, raised: bool = False, **facts: Any
    ) -> None:
        """Log a line, unless there was one of its kind just now.

        Args:
            kind: The kind of fault; there are few.
            message: What to say, with `%` for the arguments.
            args: These.
            raised: Whether code of the app has raised for what a client said: then it is an ERROR
                with its traceback, not a WARNING.
            facts: Attributes of the record.
        """
        now = time.monotonic()
        if now - self._last.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._last[kind] = now
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            message += ' (and %d more like this since the last such line)'
            args = (*args, left_out)
        level = logging.ERROR if raised else logging.WARNING
        logger.log(level, message, *args, exc_info=raised, extra={'fault': kind, **facts})


def quoted(value: object) -> str:
    """Something that a client said, safe to log: escaped and cut."""
    text = ascii(value)
    return text if len(text) <= _MAX_QUOTED else f'{text[:_MAX_QUOTED]}...'
