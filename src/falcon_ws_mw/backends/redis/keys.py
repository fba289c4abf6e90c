"""What keys and channels are called in Redis.

A channel and the key of its count have one name, `<prefix>:<letter>:<name>`. Names are escaped as
in URLs: none of them holds a space, a line break, a brace or what a pattern would take for its own.
"""

from __future__ import annotations

import secrets
from typing import Final
from urllib.parse import quote, unquote

from falcon_ws_mw.channels import Channel, Kind

_LETTERS: Final[dict[Kind, str]] = {
    'all': 'a',
    'room': 'r',
    'user': 'u',
    'topic': 't',
    'node': 'n',
    'connection': 'c',
}

_UNESCAPED: Final = "/:@!$'()+,;=&"


class Keys:
    """The names of one app.

    Args:
        prefix: What they begin with.
        node_id: The process that they are for.
    """

    __slots__ = ('holds', 'holds_made', 'node_id', 'nodes', 'prefix', 'sent')

    def __init__(self, prefix: str, node_id: str) -> None:
        self.prefix = prefix
        self.node_id = node_id
        self.nodes = f'{prefix}:nodes'
        """A sorted set: processes by the time at which their leases end."""
        self.holds = self.holds_of(node_id)
        """A hash: for how many connections this process holds what."""
        self.holds_made = f'{self.holds}:made'
        """The same, while it is being made."""
        self.sent = f'{prefix}:sent:{node_id}:{secrets.token_hex(4)}'
        """The number of the last message that was taken since this process has started."""

    def holds_of(self, node_id: str) -> str:
        """The hash that says what a process holds."""
        return f'{self.prefix}:holds:{node_id}'

    def channel(self, channel: Channel) -> str:
        """The name of a channel."""
        return f'{self.prefix}:{field_of(channel)}'


def field_of(channel: Channel) -> str:
    """What a channel is called in the hash of those who hold it."""
    # An id of a connection may be whatever an app makes it, a lone surrogate included.
    escaped = quote(channel.name, safe=_UNESCAPED, errors='surrogatepass')
    return f'{_LETTERS[channel.kind]}:{escaped}'


def name_of(field: bytes) -> str:
    """The name of the channel that a field is for."""
    return unquote(field.decode().partition(':')[2], errors='surrogatepass')
