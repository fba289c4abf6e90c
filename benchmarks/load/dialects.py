"""How a contender wants to be spoken to: paths, greetings, and the form of a message."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Literal


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words on the wire, around the same payload.

    Args:
        echo_path: Where messages are echoed.
        room_path: Where the room is.
        answers: What a client says to the server's first frames, one after the other.
        form: `'object'` is `{"type": …, "payload": …}`, `'event'` is `42[type, payload]`.
        greeting: Whether the room says `joined` when the connection is in it.
    """

    echo_path: str = '/echo'
    room_path: str = '/room'
    answers: tuple[bytes, ...] = ()
    form: Literal['object', 'event'] = 'object'
    greeting: bool = True

    def message(self, type: str, payload: object) -> bytes:
        """The text of a message."""
        if self.form == 'event':
            return b'42' + _dumps([type, payload])
        return _dumps({'type': type, 'payload': payload})

    def frames_before_echo(self) -> int:
        """How many frames of the server come before the first message."""
        return len(self.answers)

    def frames_before_room(self) -> int:
        """How many frames of the server come before the connection is in the room."""
        return len(self.answers) + self.greeting


def _dumps(value: object) -> bytes:
    return json.dumps(value, separators=(',', ':')).encode()


PLAIN = Dialect()
"""JSON messages in text frames."""

SOCKET_IO = Dialect(
    echo_path='/socket.io/?EIO=4&transport=websocket',
    room_path='/socket.io/?EIO=4&transport=websocket',
    answers=(b'40', b''),  # to "0{…}" of Engine.IO; nothing to Socket.IO's "40{…}", we are in
    form='event',
    greeting=False,
)
