"""Clients that say who they are by a message, on routes that ask for it (`ws_authenticate_by`).

Until `ws.identify` has named the user of a connection, its client is a stranger: the handler of
that one type is all that it reaches, and nothing that is said in rooms or to everybody reaches it.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final, TypedDict

from falcon import HTTPError, HTTPStatus

from falcon_ws_mw import cancellation, close_codes
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.envelope import CLIENT_PROTOCOL, EXPIRING, PING, PONG
from falcon_ws_mw.errors import ConfigurationError, InvalidPayload
from falcon_ws_mw.frames import raw_of
from falcon_ws_mw.handling import Handling
from falcon_ws_mw.payloads.own_words import described_by
from falcon_ws_mw.responders import ResponderTable
from falcon_ws_mw.sends import Declared
from falcon_ws_mw.sides import State
from falcon_ws_mw.signatures import Responder, place


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


def check_authentication(cls: type, table: ResponderTable) -> None:
    """Check that a class handles the message by which its clients are to say who they are.

    Args:
        cls: The resource's class.
        table: What it answers by itself.

    Raises:
        ConfigurationError: If it does not.
    """
    message_type = table.settings.authenticate_by
    if message_type is not None and message_type not in table.messages:
        raise ConfigurationError(
            f'{place(cls)}: {cls.__qualname__} has ws_authenticate_by={message_type!r}, and no '
            f'method for messages of that type: declare `async def on_ws_{message_type}(self, ws, '
            'payload)`, which calls `await ws.identify(user_id)`; or put '
            f'@handles_message({message_type!r}) on one'
        )


def with_authentication(table: ResponderTable) -> ResponderTable:
    """The table of a class, and the part of it that is for strangers, if there may be any.

    Args:
        table: What it answers.
    """
    message_type = table.settings.authenticate_by
    if message_type is None:
        return table
    responder = table.messages[message_type]
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

    That is for documents, where the class is about identities. It may be said on any route.

    Args:
        cls: The resource's class.
        table: What it declares that it sends.
    """
    settings = table.settings
    is_meant = settings.authenticate_by is not None or 'expiry_notice_seconds' in settings.named
    is_said = is_meant and settings.expiry_notice_seconds is not None
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

    __slots__ = ()

    async def _handle_of_stranger(self, event: Event) -> None:
        """Handle what a client says that has yet to say who it is: that, or nothing.

        Nothing that it said before it left: it cannot become anybody any more.
        """
        if self._connection.state is not State.OPEN:
            self._manager.counters.abandoned += 1
            return
        inbox = self._ws.inbox
        inbox.in_hand = event
        try:
            await self._hear_stranger(event, self._table.strangers or self._table)
        finally:
            inbox.in_hand = None
        if inbox.owner is not None and inbox.owner.cancelling():
            cancellation.settle(inbox.owner)

    async def _hear_stranger(self, event: Event, table: ResponderTable) -> None:
        """Handle it by what is for strangers."""
        incoming = None
        try:
            decode = self._codec.decoder(table.payloads, whole=table.wants_whole)
            incoming = decode(raw_of(event))
            responder = table.messages.get(incoming.type)
            if responder is None and not self._is_answer(incoming):
                await self._turn_away(incoming, event)
                return
            await self._handle(incoming, responder, event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # answered or logged
            await self._handle_error(error, incoming, event)
            if incoming is None and isinstance(error, InvalidPayload):
                self._count_failure()
            return
        if incoming.type == table.settings.authenticate_by and self._connection.is_stranger:
            self._count_failure()

    def _note_failure(
        self, responder: Responder | None, answer: HTTPError | HTTPStatus | None
    ) -> None:
        by = self._table.settings.authenticate_by
        is_his = answer is None or (answer.status_code < 500 and answer.status_code != 429)
        if is_his and by is not None and responder is self._table.messages[by]:
            self._count_failure()

    def _count_failure(self) -> None:
        """Whoever fails too often to say who he is, for the first time or anew, is closed.

        What is no fault of his does not count: that the app has failed, or has no room for him.
        """
        connection = self._connection
        connection.failed_attempts += 1
        most = connection.limits.max_auth_attempts
        if most is None or connection.failed_attempts < most or not self._ws.ready:
            return
        self._manager.counters.limits_hit['max_auth_attempts'] += 1
        self._manager.remove_connection(connection.id)
        connection.close(close_codes.UNAUTHORIZED, f'{most} attempts to authenticate failed')
