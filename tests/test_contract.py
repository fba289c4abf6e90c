"""What a route promises its clients, read off its resource."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi
import msgspec
import pytest

from falcon_ws_mw import (
    ConfigurationError,
    Envelope,
    WebSocket,
    WebSocketResource,
    handles_message,
    install,
    sends,
)
from falcon_ws_mw.contract import ChannelContract, MessageContract

from .conftest import Logs


class Task(msgspec.Struct):
    title: str


class Done(msgspec.Struct):
    number: int


def channel(resource: object, uri_template: str = '/ws') -> ChannelContract:
    app = install(falcon.asgi.App())
    app.add_route(uri_template, resource)
    [found] = app.describe_websockets()
    return found


def received(resource: object, name: str) -> MessageContract:
    [found] = [each for each in channel(resource).receives if each.type == name]
    return found


@sends('task.removed', Done, description='Somebody removed a task.\nFor good.')
class Tasks:
    """Tasks of a team.

    One list for all, in the order
    in which they were added.

    Attributes:
        secret: Not for clients.
    """

    async def on_ws_add(self, ws: WebSocket, payload: Task) -> Done:
        """Add a task to the list.

        Args:
            ws: For readers of the code.
            payload: The same.

        Returns:
            The same.
        """
        return Done(1)

    @sends('sure', Task, reply=bool)
    async def on_ws_remove(self, ws: WebSocket, payload: Done) -> None:
        pass

    async def on_ws_list(self, ws: WebSocket) -> Any:
        """List all."""

    @handles_message('a', 'b/c')
    async def either(self, ws: WebSocket, payload: int | None) -> list[Task]:
        return []


def test_every_message_is_there_by_its_type() -> None:
    types = {each.type for each in channel(Tasks()).receives}

    assert types == {'add', 'remove', 'list', 'a', 'b/c'}


def test_docstrings_are_told_up_to_what_is_for_python() -> None:
    found = channel(Tasks())
    add = received(Tasks(), 'add')

    assert (found.resource, found.summary) == ('Tasks', 'Tasks of a team.')
    assert found.description == 'One list for all, in the order\nin which they were added.'
    assert (add.summary, add.description) == ('Add a task to the list.', '')
    assert add.declared_by == 'Tasks.on_ws_add'


@pytest.mark.parametrize(
    ('type', 'payload', 'is_request', 'reply'),
    [
        ('add', Task, True, Done),
        ('remove', Done, False, None),
        ('list', None, True, None),
        ('a', int | None, True, list[Task]),
    ],
)
def test_payloads_and_replies_are_those_of_the_signature(
    type: str, payload: Any, is_request: bool, reply: Any
) -> None:
    found = received(Tasks(), type)

    assert (found.payload.annotation if found.payload else None) == payload
    assert found.is_request is is_request
    assert (found.reply.annotation if found.reply else None) == reply


def test_what_is_sent_is_what_class_and_methods_declare() -> None:
    removed, sure = channel(Tasks()).sends

    assert (removed.type, removed.summary, removed.description) == (
        'task.removed',
        'Somebody removed a task.',
        'For good.',
    )
    assert (removed.is_request, removed.declared_by) == (False, 'Tasks')
    assert (sure.type, sure.is_request, sure.declared_by) == ('sure', True, 'Tasks.on_ws_remove')
    assert sure.reply is not None
    assert sure.reply.annotation is bool


def test_the_address_has_plain_fields_and_their_converters_stand_beside() -> None:
    class Room:
        async def on_ws_x(self, ws: WebSocket) -> None: ...

    found = channel(Room(), '/ws/{room}/{number:int(min=1)}')

    assert found.address == '/ws/{room}/{number}'
    assert found.fields == {'room': None, 'number': 'int'}


def test_envelopes_stand_by_subprotocol_and_the_route_s_own_is_there_too() -> None:
    class Room:
        ws_envelope = Envelope(type_field='action')
        ws_subprotocols = {'flat': Envelope(payload_field=None), 'same': None}

        async def on_ws_x(self, ws: WebSocket) -> None: ...

    assert channel(Room()).envelopes == {
        'flat': Envelope(payload_field=None),
        'same': Envelope(type_field='action'),
        None: Envelope(type_field='action'),
    }


def test_other_messages_may_be_for_an_old_loop_or_for_on_message() -> None:
    class Old:
        async def on_websocket(self, req: falcon.asgi.Request, ws: WebSocket) -> None: ...

        async def on_ws_x(self, ws: WebSocket) -> None: ...

    class AnyMessage(WebSocketResource):
        async def on_message(self, ws: WebSocket, message: dict[str, Any]) -> None: ...

    app = install(falcon.asgi.App())
    app.add_route('/old', Old())
    app.add_websocket_route('/any', AnyMessage)
    contracts = {each.address: each for each in app.describe_websockets()}

    assert (contracts['/old'].is_adopted, contracts['/old'].takes_any) == (True, False)
    assert (contracts['/any'].is_adopted, contracts['/any'].takes_any) == (False, True)


def test_a_return_annotation_that_is_no_payload_is_left_out_and_said(logs: Logs) -> None:
    class Strange:
        pass

    class Room:
        async def on_ws_x(self, ws: WebSocket) -> Strange: ...  # type: ignore[empty-body]

    found = received(Room(), 'x')

    assert (found.is_request, found.reply) == (True, None)
    assert 'what' in logs.take()[0]


def test_what_the_library_answers_on_a_route_is_there_too() -> None:
    class Room:
        ws_client_topics = True

        async def ws_authorize(self, ws: WebSocket, action: str, name: str) -> bool:
            return True

    subscribe, unsubscribe = channel(Room()).receives

    assert (subscribe.type, unsubscribe.type) == ('subscribe', 'unsubscribe')
    assert subscribe.summary == 'Get what is published on the topics that a filter matches.'
    assert unsubscribe.summary == 'Get no more of what was subscribed to by this filter.'
    for each in (subscribe, unsubscribe):
        assert each.payload is not None
        assert each.reply is each.payload
        assert each.is_request


def test_a_router_that_hides_its_routes_is_said() -> None:
    class Hiding:
        def add_route(self, *args: Any, **kwargs: Any) -> None: ...

        def find(self, uri: str, req: Any = None) -> None: ...

    app = install(falcon.asgi.App(router=Hiding()))  # type: ignore[call-overload]

    with pytest.raises(ConfigurationError, match='does not show its routes'):
        app.describe_websockets()
