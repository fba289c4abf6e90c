"""The library's own heartbeat, on routes that ask for it (`ws_heartbeat_seconds`).

A client that negotiates `falcon-ws.v1` and has been silent is sent `{"type": "ping"}`, and has to
say something, say `{"type": "pong"}`. It may ask the same of the server: a page cannot see the
pings of the protocol, nor send any.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from falcon_ws_mw.envelope import PING, PONG
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.responders import ResponderTable
from falcon_ws_mw.sends import Declared
from falcon_ws_mw.signatures import Responder, place

if TYPE_CHECKING:
    from falcon_ws_mw.websocket import WebSocket


async def _ping(_: Any, ws: WebSocket, *, payload: Any) -> None:  # noqa: ARG001  # any will do
    """Ask the server for a sign of life: it says `pong`."""
    await ws.send_message(PONG)


async def _pong(_: Any, ws: WebSocket, *, payload: Any) -> None:  # any will do
    """Give a sign of life. Any other message is one too."""


_SAID: Final = {
    PING: 'Asks a client that has been silent for a sign of life.',
    PONG: 'Answers a `ping`.',
}


def with_heartbeat(cls: type, table: ResponderTable) -> ResponderTable:
    """The table of a class, and what answers `ping` and `pong`.

    Args:
        cls: The resource's class.
        table: What it answers by itself.

    Raises:
        ConfigurationError: If it answers these types itself.
    """
    messages = dict(table.messages)
    for name, function in ((PING, _ping), (PONG, _pong)):
        if name in messages:
            raise ConfigurationError(
                f'{place(cls)}: {cls.__qualname__} has ws_heartbeat_seconds, by which the library '
                f'answers messages of type {name!r}, and so does {messages[name].name}: rename it, '
                'or leave the setting out'
            )
        messages[name] = Responder(
            f'{cls.__qualname__}: {name}',
            function,
            named=frozenset({'payload'}),
            takes_more=False,
        )
    said = {
        name: Declared(name, None, None, is_request=False, description=text, by=cls.__qualname__)
        for name, text in _SAID.items()
    }
    return replace(
        table,
        messages=messages,
        payloads={**dict.fromkeys(messages), **table.payloads},
        sends={**said, **table.sends} if table.sends else {},
    )
