"""Clients that say who they are by a message, on routes that ask for it (`ws_authenticate_by`).

Until `ws.identify` has named the user of a connection, its client is a stranger: the handler of
that one type is all that it reaches, and nothing that is said in rooms or to everybody reaches it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final, TypedDict

import falcon

from falcon_ws_mw import cancellation, close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.deadlines import await_identity
from falcon_ws_mw.envelope import CLIENT_PROTOCOL, EXPIRING, PING, PONG, Incoming
from falcon_ws_mw.errors import ConfigurationError, InvalidPayload
from falcon_ws_mw.frames import raw_of
from falcon_ws_mw.handling import Handling, is_binary
from falcon_ws_mw.payloads.own_words import described_by
from falcon_ws_mw.responders import ResponderTable
from falcon_ws_mw.sends import Declared
from falcon_ws_mw.sides import State
from falcon_ws_mw.signatures import place


class Expiring(TypedDict):
    """What is said before an identity expires."""

    expires_in: float


_EXPIRING_PAYLOAD: Final = described_by(
    {
        'type': 'object',
        'properties': {
            'expires_in': {'type': 'number', 'minimum': 0, 'description': 'In seconds.'}
        },
        'required': ['expires_in'],
    },
    Expiring,
)

_EXPIRING: Final = (
    'Said before the identity of the connection expires, to clients that speak '
    f'`{CLIENT_PROTOCOL}`: whoever says in time who it is stays connected.'
)


def with_authentication(cls: type, table: ResponderTable) -> ResponderTable:
    """The table of a class, and the part of it that is for strangers.

    Args:
        cls: The resource's class.
        table: What it answers.

    Raises:
        ConfigurationError: If nothing handles the message by which they are to say who they are.
    """
    message_type = table.settings.authenticate_by
    if message_type is None:
        return table
    responder = table.messages.get(message_type)
    if responder is None:
        raise ConfigurationError(
            f'{place(cls)}: {cls.__qualname__} has ws_authenticate_by={message_type!r}, and no '
            f'method for messages of that type: declare `async def on_ws_{message_type}(self, ws, '
            'payload)`, which calls `await ws.identify(user_id)`; or put '
            f'@handles_message({message_type!r}) on one'
        )
    # What comes behind it is for who it says, so nothing overtakes it.
    messages = {**table.messages, message_type: responder._replace(parallel=1, takes_more=True)}
    beats = (PING, PONG) if table.settings.heartbeat_seconds is not None else ()
    for_strangers = (message_type, *beats)
    return replace(
        table,
        messages=messages,
        strangers=replace(
            table,
            messages={name: messages[name] for name in for_strangers},
            payloads={name: table.payloads.get(name) for name in for_strangers},
            unhandled=None,
            any_message=None,
        ),
    )


def with_expiry_notice(cls: type, table: ResponderTable) -> ResponderTable:
    """The table of a class, and what the library says before an identity expires.

    Args:
        cls: The resource's class.
        table: What it declares that it sends.
    """
    settings = table.settings
    is_said = (
        settings.expiry_notice_seconds is not None and CLIENT_PROTOCOL in settings.subprotocols
    )
    if not (table.sends and is_said) or EXPIRING in table.sends:
        return table
    said = Declared(
        EXPIRING,
        _EXPIRING_PAYLOAD,
        None,
        is_request=False,
        description=_EXPIRING,
        by=cls.__qualname__,
    )
    return replace(table, sends={EXPIRING: said, **table.sends})


class Authenticating(Handling):
    """A connection whose client may have to say who it is. Made of what `Handling` is."""

    __slots__ = ('_failed_attempts',)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._failed_attempts = 0

    def _watch(self) -> None:
        connection = self._connection
        if connection.is_stranger and connection.state is State.OPEN:
            await_identity(connection)
        super()._watch()

    async def _handle_of_stranger(self, event: Event) -> None:
        """Handle what a client says that has yet to say who it is: that, or nothing."""
        inbox = self._ws.inbox
        inbox.in_hand = event
        try:
            is_attempt = await self._hear_stranger(event, self._table.strangers or self._table)
        finally:
            inbox.in_hand = None
        if inbox.owner is not None and inbox.owner.cancelling():
            cancellation.settle(inbox.owner)
        if is_attempt:
            self._count_attempt()

    async def _hear_stranger(self, event: Event, table: ResponderTable) -> bool:
        """Handle it by what is for strangers.

        Returns:
            Whether it was an attempt to say who it is.
        """
        incoming = None
        try:
            decode = self._codec.decoder(table.payloads, whole=table.wants_whole)
            incoming = decode(raw_of(event))
            responder = table.messages.get(incoming.type)
            if responder is None and not self._is_answer(incoming):
                await self._turn_away(incoming, event)
            else:
                await self._handle(incoming, responder, event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # answered or logged
            await self._handle_error(error, incoming, event)
            if incoming is None:
                return isinstance(error, InvalidPayload)
        return incoming.type == table.settings.authenticate_by

    async def _turn_away(self, incoming: Incoming, event: Event) -> None:
        self._manager.counters.errors['unauthenticated'] += 1
        error = falcon.HTTPUnauthorized(
            title='Not authenticated',
            description='say who you are first, by a message of the type '
            f'{self._table.settings.authenticate_by!r}',
        )
        await self._say_error(error, incoming.id, binary=is_binary(event))

    def _count_attempt(self) -> None:
        """Whoever fails too often is closed."""
        connection = self._connection
        if not connection.is_stranger:
            self._failed_attempts = 0
        elif connection.state is State.OPEN:
            self._failed_attempts += 1
            most = connection.limits.max_auth_attempts
            if most is not None and self._failed_attempts >= most:
                self._manager.counters.limits_hit['max_auth_attempts'] += 1
                self._manager.remove_connection(connection.id)
                reason = f'{most} attempts to authenticate failed'
                connection.close(close_codes.UNAUTHORIZED, reason)
