"""Peers that say nothing: an idle one is closed, one that may be gone is asked for a sign of life.

TCP alone does not tell that a peer's network is gone, and not every server sends pings. So the
sweep looks how long each of the connections that ask for it has been silent. Nothing is counted
when a message comes: what was read last is another object then.
"""

from __future__ import annotations

from collections.abc import Callable

from falcon_ws_mw import close_codes
from falcon_ws_mw.connection import Connection
from falcon_ws_mw.envelope import PING
from falcon_ws_mw.sides import State


class Watch:
    """One connection that must not be silent for ever.

    Args:
        connection: The connection.
        last_read: Gives what was read last: the same object as long as nothing comes. Another one
            each time where nobody reads: its silence is ours then.
        idle_seconds: How long it may say nothing, `None` for as long as it likes.
        heartbeat_seconds: After how much silence it is asked for a sign of life; after as much
            again it counts as gone. `None` for never.
    """

    __slots__ = (
        '_asked',
        '_connection',
        '_heartbeat_seconds',
        '_idle_seconds',
        '_last',
        '_last_read',
        '_silent_since',
    )

    def __init__(
        self,
        connection: Connection,
        last_read: Callable[[], object],
        *,
        idle_seconds: float | None,
        heartbeat_seconds: float | None,
    ) -> None:
        self._connection = connection
        self._last_read = last_read
        self._idle_seconds = idle_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._last: object = self
        self._silent_since = 0.0
        self._asked = False

    def look(self, now: float) -> bool:
        """See what there is to do.

        Args:
            now: The event loop's time.

        Returns:
            Whether to look again.
        """
        connection = self._connection
        if connection.state is not State.OPEN:
            return connection.state is State.HANDSHAKE
        last = self._last_read()
        if last is not self._last:
            self._last, self._asked, self._silent_since = last, False, now
        silent, beat, idle = now - self._silent_since, self._heartbeat_seconds, self._idle_seconds
        if idle is not None and silent >= idle:
            self._close('idle_timeout_seconds', f'idle for {idle:g} s')
        elif beat is not None and silent >= 2 * beat:
            self._close('heartbeat_seconds', f'no sign of life for {2 * beat:g} s')
        elif beat is not None and silent >= beat and not self._asked:
            self._asked = True
            connection.post(connection.codec.encode_message(PING, None))
        return connection.state is State.OPEN

    def _close(self, limit: str, reason: str) -> None:
        connection = self._connection
        connection.keeper.counters.limits_hit[limit] += 1
        connection.keeper.lost(connection)
        connection.close(close_codes.GOING_AWAY, reason)
