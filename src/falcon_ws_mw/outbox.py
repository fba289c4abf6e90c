"""What waits for one peer: bounded, in order; and what gives way when it is full.

What a handler says, answers and the close wait until they can go. What others say, broadcasts and
the like, gives way by the slow-consumer policy. A message with a key takes the place of the one
that waits under the same key, so a slow peer gets the latest of each key and never a backlog.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Any, TypeAlias

from falcon_ws_mw.errors import MessageTooBig, OutboxFull
from falcon_ws_mw.frames import Frame, frame_bytes
from falcon_ws_mw.options import Limits, SlowConsumer

Key: TypeAlias = tuple[object, ...]


class Offered(Enum):
    """What became of a message that was offered."""

    WAITS = auto()
    REPLACES = auto()
    """It waits in the place of an older one with its key."""
    DROPPED = auto()
    OVERFLOWS = auto()
    """There is no room, and the policy is to close."""


class Waiting:
    """A frame in line.

    Attributes:
        frame: The ASGI event.
        size: Its bytes of payload.
        taken: What the one who waits for it gets resolved, `None` if nobody does.
        droppable: Whether it gives way when there is no room.
        key: Under which it can be replaced.
    """

    __slots__ = ('droppable', 'frame', 'key', 'size', 'taken')

    def __init__(
        self,
        frame: Frame,
        size: int,
        *,
        taken: Any = None,
        droppable: bool = False,
        key: Key | None = None,
    ) -> None:
        self.frame = frame
        self.size = size
        self.taken = taken
        self.droppable = droppable
        self.key = key


def check_size(frame: Frame, max_bytes: int | None) -> None:
    """Check that a frame is no longer than all that may wait.

    Raises:
        MessageTooBig: If it is.
    """
    if max_bytes is not None and (size := frame_bytes(frame)) > max_bytes:
        raise MessageTooBig(size, max_bytes)


class Outbox:
    """The line in front of one peer.

    Args:
        limits: How many messages and bytes may wait.

    Attributes:
        dropped: How many messages have given way since the count was last taken.
    """

    __slots__ = (
        '_bytes',
        '_keyed',
        '_lasting',
        '_lasting_bytes',
        '_max_bytes',
        '_max_messages',
        '_waiting',
        'dropped',
    )

    def __init__(self, limits: Limits) -> None:
        self._max_messages = limits.max_outbox_messages
        self._max_bytes = limits.max_outbox_bytes
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0
        self._lasting = 0
        self._lasting_bytes = 0
        self._keyed: dict[Key, Waiting] | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def bytes(self) -> int:
        """The bytes of payload that wait."""
        return self._bytes

    def has_room(self, size: int) -> bool:
        """Whether a message of that many bytes may wait."""
        return self._fits(len(self._waiting), self._bytes, size, None)

    def hold(self, frame: Frame) -> None:
        """Put in line what is said before the accept, when nobody can wait.

        Raises:
            OutboxFull: If there is no room.
        """
        if not self.has_room(frame_bytes(frame)):
            raise OutboxFull(self._max_messages, self._max_bytes)
        self.append(frame)

    def append(self, frame: Frame, taken: Any = None) -> None:
        """Put in line what is never dropped."""
        size = 0 if frame['type'] == 'websocket.close' else frame_bytes(frame)
        self._add(Waiting(frame, size, taken=taken))

    def offer(
        self, frame: Frame, size: int, policy: SlowConsumer, key: Key | None = None
    ) -> Offered:
        """Put in line what gives way where there is no room.

        Args:
            frame: The ASGI event.
            size: Its bytes of payload.
            policy: What happens when there is no room.
            key: Replaces the message that waits under the same key, in its place in the line.
        """
        older = self._under(key)
        if not self._fits(len(self._waiting), self._bytes, size, older):
            if policy == 'close':
                return Offered.OVERFLOWS
            if policy == 'drop_newest' or not self._make_room(size, older):
                self.dropped += 1
                return Offered.DROPPED
            older = self._under(key)  # it may have been dropped as well
        if older is None:
            self._add(Waiting(frame, size, droppable=True, key=key))
            return Offered.WAITS
        self._bytes += size - older.size
        older.frame, older.size = frame, size
        return Offered.REPLACES

    def pop(self) -> Waiting:
        """Take the first in line."""
        first = self._waiting.popleft()
        self._forget(first)
        return first

    def drop_droppable(self) -> None:
        """Drop everything that may give way."""
        kept = [waiting for waiting in self._waiting if not waiting.droppable]
        self.dropped += len(self._waiting) - len(kept)
        self._waiting = deque(kept)
        self._bytes = self._lasting_bytes
        self._keyed = None

    def clear(self) -> list[Any]:
        """Drop everything.

        Returns:
            What those who waited for it get resolved.
        """
        waiting, self._waiting = self._waiting, deque()
        self.dropped += sum(one.droppable for one in waiting)
        self._bytes = self._lasting = self._lasting_bytes = 0
        self._keyed = None
        return [one.taken for one in waiting if one.taken is not None]

    def take_dropped(self) -> int:
        """How many messages have given way since this was last asked."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    # -- inside

    def _add(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)
        self._bytes += waiting.size
        if not waiting.droppable:
            self._lasting += 1
            self._lasting_bytes += waiting.size
        if waiting.key is not None:
            if self._keyed is None:
                self._keyed = {}
            self._keyed[waiting.key] = waiting

    def _forget(self, waiting: Waiting) -> None:
        self._bytes -= waiting.size
        if not waiting.droppable:
            self._lasting -= 1
            self._lasting_bytes -= waiting.size
        if self._keyed and waiting.key is not None and self._keyed.get(waiting.key) is waiting:
            del self._keyed[waiting.key]

    def _under(self, key: Key | None) -> Waiting | None:
        return None if key is None or self._keyed is None else self._keyed.get(key)

    def _fits(self, count: int, length: int, size: int, older: Waiting | None) -> bool:
        """Whether a message may wait beside so many of that length, or in the place of one."""
        if older is not None:
            return self._max_bytes is None or length - older.size + size <= self._max_bytes
        return (self._max_messages is None or count < self._max_messages) and (
            self._max_bytes is None or length + size <= self._max_bytes
        )

    def _make_room(self, size: int, older: Waiting | None) -> bool:
        """Drop the oldest that may be dropped, until there is room; nothing if it is no use.

        Args:
            size: What there should be room for.
            older: In whose place, as long as it is not dropped itself.
        """
        if (
            older is None and self._max_messages is not None and self._lasting >= self._max_messages
        ) or (self._max_bytes is not None and self._lasting_bytes + size > self._max_bytes):
            return False
        count, length = len(self._waiting), self._bytes
        given_up: list[Waiting] = []
        for waiting in self._waiting:
            if self._fits(count, length, size, older):
                break
            if waiting.droppable:
                given_up.append(waiting)
                count -= 1
                length -= waiting.size
                older = None if waiting is older else older
        if not self._fits(count, length, size, older):
            return False
        for waiting in given_up:
            self._forget(waiting)
            self._waiting.remove(waiting)
        self.dropped += len(given_up)
        return True
