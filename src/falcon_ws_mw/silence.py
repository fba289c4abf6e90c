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
        last_read: Gives what was read last: the same object as long as nothing comes; `None` while
            nobody reads, and the silence is ours.
        is_busy: Whether a handler runs, for which the peer may wait: then it is not idle.
        idle_seconds: How long it may say nothing, `None` for as long as it likes.
        heartbeat_seconds: After how much silence it is asked for a sign of life; after as much
            again it counts as gone. `None` for never.
    """

    __slots__ = (
        '_asked',
        '_connection',
        '_heartbeat_seconds',
        '_idle_seconds',
        '_idle_since',
        '_is_busy',
        '_last',
        '_last_read',
        '_looked',
        '_silent_since',
    )

    def __init__(
        self,
        connection: Connection,
        last_read: Callable[[], object],
        is_busy: Callable[[], bool],
        *,
        idle_seconds: float | None,
        heartbeat_seconds: float | None,
    ) -> None:
        self._connection = connection
        self._last_read = last_read
        self._is_busy = is_busy
        self._idle_seconds = idle_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._last: object = self
        self._silent_since = self._idle_since = self._looked = 0.0
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
        self._listen(now)
        beat, idle = self._heartbeat_seconds, self._idle_seconds
        silent = now - self._silent_since
        if idle is not None and now - self._idle_since >= idle:
            self._close('idle_timeout_seconds', f'idle for {idle:g} s')
        elif beat is not None and self._asked and silent >= 2 * beat:
            self._close('heartbeat_seconds', f'no sign of life for {2 * beat:g} s')
        elif beat is not None and not self._asked and silent >= beat:
            self._asked = connection.post(connection.codec.encode_message(PING, None))
        return connection.state is State.OPEN

    def _listen(self, now: float) -> None:
        """Since when it has been silent: time in which it could not be heard does not count."""
        since_look, self._looked = now - self._looked, now
        last = self._last_read()
        if last is not None and last is not self._last:
            self._last, self._asked = last, False
            self._silent_since = self._idle_since = now
        elif last is None or self._connection.is_blocked:
            self._silent_since += since_look
            self._idle_since += since_look
        elif self._is_busy():
            self._idle_since += since_look

    def _close(self, limit: str, reason: str) -> None:
        connection = self._connection
        connection.keeper.counters.limits_hit[limit] += 1
        connection.keeper.lost(connection)
        connection.close(close_codes.GOING_AWAY, reason)
