"""Which method answers which message, and what a resource cannot look like."""

from __future__ import annotations

from collections.abc import Callable
import functools
from pathlib import Path
from typing import Any, ClassVar

import pytest

from falcon_ws_mw.envelope import Incoming
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import Limits, RouteSettings
from falcon_ws_mw.resource import PerConnectionResource, WebSocketResource
from falcon_ws_mw.responders import (
    ResponderTable,
    build_table,
    handles_message,
    has_responders,
)

HERE = Path(__file__).name


def methods(table: ResponderTable) -> dict[str, str]:
    """Message type to the name of the method."""
    return {name: responder.name.split('.')[-1] for name, responder in table.messages.items()}


# -- which method answers which type


class Chat:
    """One of each kind."""

    ws_helper: ClassVar[Callable[..., Any]] = print
    on_message: ClassVar[str] = 'no business of ours on a plain resource'

    async def on_ws_connect(self, req: Any, ws: Any) -> None: ...

    async def on_ws_disconnect(self, ws: Any, close_code: int) -> None: ...

    async def on_ws_unhandled(self, ws: Any, raw: Any, error: Any) -> None: ...

    async def on_ws_clientSendMessage(self, ws: Any, payload: Any) -> None: ...

    async def on_ws_typing(self, ws: Any) -> None: ...

    async def on_ws__private(self, ws: Any) -> None: ...

    @handles_message('chat.edit')
    async def edit(self, ws: Any) -> None: ...

    @handles_message('chat.delete', 'chat.purge')
    async def delete(self, ws: Any) -> None: ...

    @handles_message('renamed')
    async def on_ws_original(self, ws: Any) -> None: ...

    @handles_message('first')
    @handles_message('second')
    async def marked_twice(self, ws: Any) -> None: ...

    @handles_message('connect')
    async def on_the_word_connect(self, ws: Any) -> None: ...

    async def on_get(self, req: Any, resp: Any) -> None: ...

    async def helper(self) -> None: ...


def test_a_table_has_these_types_and_no_others() -> None:
    assert methods(build_table(Chat)) == {
        'clientSendMessage': 'on_ws_clientSendMessage',
        'typing': 'on_ws_typing',
        '_private': 'on_ws__private',
        'chat.edit': 'edit',
        'chat.delete': 'delete',
        'chat.purge': 'delete',
        'renamed': 'on_ws_original',
        'first': 'marked_twice',
        'second': 'marked_twice',
        'connect': 'on_the_word_connect',
    }


@pytest.mark.parametrize('hook', ['connect', 'disconnect', 'unhandled'])
def test_a_life_cycle_method_has_a_place_of_its_own(hook: str) -> None:
    assert getattr(build_table(Chat), hook).name == f'Chat.on_ws_{hook}'


@pytest.mark.parametrize('place', ['connect', 'disconnect', 'unhandled', 'any_message'])
def test_what_a_class_does_not_define_is_not_there(place: str) -> None:
    class Room:
        async def on_ws_x(self, ws: Any) -> None: ...

    assert getattr(build_table(Room), place) is None


def test_a_plain_resource_has_no_method_for_all_messages() -> None:
    assert build_table(Chat).any_message is None


class Louder(Chat):
    on_ws_typing = None  # type: ignore[assignment]  # disabled
    edit = None  # type: ignore[assignment]
    on_ws_connect = None  # type: ignore[assignment]

    async def on_ws_clientSendMessage(self, ws: Any, payload: Any) -> None: ...

    async def on_ws_shout(self, ws: Any) -> None: ...


def test_a_subclass_adds_to_what_it_inherits() -> None:
    table = build_table(Louder)

    assert set(table.messages) == {*build_table(Chat).messages, 'shout'} - {'typing', 'chat.edit'}


def test_a_subclass_replaces_what_it_inherits() -> None:
    responder = build_table(Louder).messages['clientSendMessage']

    assert responder.function is Louder.on_ws_clientSendMessage


@pytest.mark.parametrize('type', ['typing', 'chat.edit'])
def test_a_subclass_disables_a_message_by_none(type: str) -> None:
    assert type not in build_table(Louder).messages


def test_a_subclass_disables_a_life_cycle_method_by_none() -> None:
    assert build_table(Louder).connect is None


class OnlyLifeCycle:
    async def on_ws_disconnect(self, ws: Any, close_code: int) -> None: ...


class OnlyMarked:
    @handles_message('x')
    async def write(self, ws: Any) -> None: ...


class Disabled(OnlyLifeCycle):
    on_ws_disconnect = None  # type: ignore[assignment]


class HttpOnly:
    async def on_get(self, req: Any, resp: Any) -> None: ...

    async def on_websocket(self, req: Any, ws: Any) -> None: ...


@pytest.mark.parametrize(
    ('cls', 'has'),
    [
        (Chat, True),
        (Louder, True),
        (OnlyLifeCycle, True),
        (OnlyMarked, True),
        (Disabled, False),
        (HttpOnly, False),
        (object, False),
    ],
)
def test_a_class_is_ours_by_any_method_of_ours(cls: type, has: bool) -> None:
    assert has_responders(cls) is has


# -- what a method is called with


async def called_with(
    method: Callable[..., Any], uri_params: dict[str, Any], fields: frozenset[str]
) -> Any:
    """What a method returns when it is called for a message."""
    cls = type('Room', (), {'on_ws_x': method})
    responder = build_table(cls, fields).messages['x']
    incoming = Incoming('x', 'PAYLOAD', None, {'the': 'message'})
    return await responder.handle(cls(), 'WS', incoming, uri_params)


async def takes_nothing(self: Any, ws: Any) -> Any:
    return ws


async def takes_payload(self: Any, ws: Any, payload: Any) -> Any:
    return ws, payload


async def takes_message(self: Any, ws: Any, message: Any) -> Any:
    return ws, message


async def takes_both_the_other_way_round(self: Any, ws: Any, message: Any, payload: Any) -> Any:
    return ws, payload, message


async def takes_keywords_only(self: Any, ws: Any, *, payload: Any, room: Any) -> Any:
    return ws, payload, room


async def takes_a_field(self: Any, ws: Any, room: Any) -> Any:
    return ws, room


async def takes_fields_before_payload(
    self: Any, ws: Any, seat: Any, room: Any, payload: Any
) -> Any:
    return ws, payload, room, seat


async def takes_all_fields(self: Any, ws: Any, **params: Any) -> Any:
    return ws, params


async def takes_a_field_and_the_others(self: Any, ws: Any, room: Any, **params: Any) -> Any:
    return ws, room, params


async def takes_payload_and_all_fields(self: Any, ws: Any, payload: Any, **params: Any) -> Any:
    return ws, payload, params


async def takes_defaults(self: Any, ws: Any, payload: Any = None, room: Any = None) -> Any:
    return ws, payload, room


async def takes_another_name_for_ws(me: Any, socket: Any, /, payload: Any) -> Any:
    return socket, payload


async def takes_anything(*args: Any, **params: Any) -> Any:
    return args[1:], params


@pytest.mark.parametrize(
    ('method', 'result'),
    [
        (takes_nothing, 'WS'),
        (takes_payload, ('WS', 'PAYLOAD')),
        (takes_message, ('WS', {'the': 'message'})),
        (takes_both_the_other_way_round, ('WS', 'PAYLOAD', {'the': 'message'})),
        (takes_keywords_only, ('WS', 'PAYLOAD', 'r')),
        (takes_a_field, ('WS', 'r')),
        (takes_fields_before_payload, ('WS', 'PAYLOAD', 'r', 5)),
        (takes_all_fields, ('WS', {'room': 'r', 'seat': 5})),
        (takes_a_field_and_the_others, ('WS', 'r', {'seat': 5})),
        (takes_payload_and_all_fields, ('WS', 'PAYLOAD', {'room': 'r', 'seat': 5})),
        (takes_defaults, ('WS', 'PAYLOAD', 'r')),
        (takes_another_name_for_ws, ('WS', 'PAYLOAD')),
        (takes_anything, (('WS',), {'room': 'r', 'seat': 5})),
    ],
)
async def test_a_method_gets_what_its_parameters_name(
    method: Callable[..., Any], result: object
) -> None:
    fields = frozenset({'room', 'seat'})

    assert await called_with(method, {'room': 'r', 'seat': 5}, fields) == result


@pytest.mark.parametrize(
    ('method', 'fields', 'result'),
    [
        (takes_nothing, frozenset(), 'WS'),
        (takes_a_field, frozenset({'room'}), ('WS', 'r')),
        (takes_a_field, frozenset({'room', 'seat'}), ('WS', 'r')),
    ],
)
async def test_a_parameter_that_another_component_added_is_passed_to_none_that_does_not_take_it(
    method: Callable[..., Any], fields: frozenset[str], result: object
) -> None:
    uri_params = {**{name: name[0] for name in fields}, 'user': 'ada'}

    assert await called_with(method, uri_params, fields) == result


async def test_a_parameter_that_another_component_added_is_among_all_params() -> None:
    assert await called_with(takes_all_fields, {'user': 'ada'}, frozenset()) == (
        'WS',
        {'user': 'ada'},
    )


async def test_a_parameter_may_be_a_field_of_another_route_if_it_has_a_default() -> None:
    class Room:
        async def on_ws_x(self, ws: Any, room: str = 'lobby') -> Any:
            return room

    responder = build_table(Room, frozenset(), frozenset({'room'})).messages['x']

    assert await responder.call(Room(), ('WS',), {}) == 'lobby'


class LifeCycleWithFields:
    async def on_ws_connect(self, req: Any, ws: Any, room: Any) -> Any:
        return req, ws, room

    async def on_ws_disconnect(self, ws: Any, close_code: int, **params: Any) -> Any:
        return ws, close_code, params

    async def on_ws_unhandled(self, ws: Any, raw: Any, error: Any, room: Any) -> Any:
        return ws, raw, error, room


@pytest.mark.parametrize(
    ('hook', 'positional', 'result'),
    [
        ('connect', ('REQ', 'WS'), ('REQ', 'WS', 'r')),
        ('disconnect', ('WS', 1000), ('WS', 1000, {'room': 'r'})),
        ('unhandled', ('WS', 'RAW', 'ERROR'), ('WS', 'RAW', 'ERROR', 'r')),
    ],
)
async def test_a_life_cycle_method_gets_the_fields_that_it_names(
    hook: str, positional: tuple[Any, ...], result: tuple[Any, ...]
) -> None:
    responder = getattr(build_table(LifeCycleWithFields, frozenset({'room'})), hook)

    assert await responder.call(LifeCycleWithFields(), positional, {'room': 'r'}) == result


@pytest.mark.parametrize(('hook', 'positional'), [('connect', 2), ('disconnect', 2)])
async def test_a_life_cycle_method_need_not_name_fields(hook: str, positional: int) -> None:
    responder = getattr(build_table(Chat, frozenset({'room'})), hook)

    assert await responder.call(Chat(), (None,) * positional, {'room': 'r'}) is None


# -- settings of a route


class Configured:
    ws_limits = Limits(max_outbox_messages=3)
    ws_crash_policy = 'close'

    async def on_ws_x(self, ws: Any) -> None: ...


def test_a_resources_limits_replace_those_of_the_app_that_they_name() -> None:
    app = RouteSettings(limits=Limits(max_outbox_messages=7, max_outbox_bytes=9))
    table = build_table(Configured, settings=app)

    assert table.settings.limits == Limits(max_outbox_messages=3, max_outbox_bytes=9)


def test_a_resource_without_limits_has_the_apps() -> None:
    app = RouteSettings(limits=Limits(max_outbox_bytes=9))
    assert build_table(Chat, settings=app).settings == app


@pytest.mark.parametrize(('cls', 'policy'), [(Configured, 'close'), (Chat, 'answer')])
def test_a_resource_may_have_a_crash_policy(cls: type, policy: str) -> None:
    assert build_table(cls).settings.crash_policy == policy


# -- WebSocketResource


class Bare(WebSocketResource):
    pass


class ShortNames(WebSocketResource):
    async def on_connect(self, req: Any, ws: Any, **params: Any) -> bool:
        return True

    async def on_disconnect(self, ws: Any, close_code: int) -> None: ...

    async def on_message(self, ws: Any, message: dict[str, Any]) -> Any: ...


class LongNames(WebSocketResource):
    async def on_ws_connect(self, req: Any, ws: Any) -> None: ...

    async def on_ws_disconnect(self, ws: Any, close_code: int) -> None: ...

    async def on_ws_x(self, ws: Any) -> None: ...


@pytest.mark.parametrize('place', ['connect', 'disconnect', 'any_message'])
def test_what_the_base_class_defines_does_not_count(place: str) -> None:
    assert getattr(build_table(Bare, short_names=True), place) is None


@pytest.mark.parametrize(
    ('cls', 'place', 'name'),
    [
        (ShortNames, 'connect', 'ShortNames.on_connect'),
        (ShortNames, 'disconnect', 'ShortNames.on_disconnect'),
        (ShortNames, 'any_message', 'ShortNames.on_message'),
        (LongNames, 'connect', 'LongNames.on_ws_connect'),
        (LongNames, 'disconnect', 'LongNames.on_ws_disconnect'),
    ],
)
def test_its_life_cycle_has_short_names_and_long_ones(cls: type, place: str, name: str) -> None:
    assert getattr(build_table(cls, short_names=True), place).name == name


@pytest.mark.parametrize(
    ('cls', 'short_names', 'only_true'),
    [(ShortNames, True, True), (Bare, True, True), (LongNames, True, False), (Chat, False, False)],
)
def test_only_true_accepts_under_the_short_name(
    cls: type, short_names: bool, only_true: bool
) -> None:
    assert build_table(cls, short_names=short_names).only_true_accepts is only_true


async def test_the_base_class_accepts_everyone() -> None:
    anything: Any = None

    assert await Bare().on_connect(anything, anything, room='r') is True


def test_the_short_names_are_no_message_types() -> None:
    assert build_table(ShortNames, short_names=True).messages == {}


# -- mistakes in a class


class NoCoroutine:
    def on_ws_x(self, ws: Any) -> None: ...


def synchronously(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class NoCoroutineByItsDecorator:
    @synchronously
    async def on_ws_x(self, ws: Any) -> None: ...


class AsyncGenerator:
    async def on_ws_x(self, ws: Any) -> Any:
        yield 1


class MarkedNoCoroutine:
    @handles_message('chat.message')
    def write(self, ws: Any) -> None: ...


class LifeCycleNoCoroutine:
    def on_ws_disconnect(self, ws: Any, close_code: int) -> None: ...


class StaticMethod:
    @staticmethod
    async def on_ws_x(ws: Any, payload: Any) -> None: ...


class ClassMethod:
    @classmethod
    async def on_ws_x(cls, ws: Any) -> None: ...


class Property:
    @property
    def on_ws_x(self) -> int:
        return 1


class Partial:
    on_ws_x = functools.partial(takes_nothing)


class Value:
    on_ws_x = 3


class Builtin:
    on_ws_x = print


class UnknownParameter:
    async def on_ws_x(self, ws: Any, rom_name: str) -> None: ...


class UnknownParameterWithDefault:
    async def on_ws_x(self, ws: Any, rom_name: str = '') -> None: ...


class UnknownKeywordParameter:
    async def on_ws_x(self, ws: Any, *, rom_name: str) -> None: ...


class UnknownLifeCycleParameter:
    async def on_ws_connect(self, req: Any, ws: Any, payload: Any) -> None: ...


class PositionalOnly:
    async def on_ws_x(self, ws: Any, payload: Any, /) -> None: ...


class TakesNoWs:
    async def on_ws_x(self) -> None: ...


class PayloadForWs:
    async def on_ws_x(self, payload: Any) -> None: ...


class FieldForWs:
    async def on_ws_x(self, room: str) -> None: ...


class TakesNoSelf:
    async def on_ws_x() -> None: ...  # type: ignore[misc]


class ConnectTooShort:
    async def on_ws_connect(self, req: Any) -> None: ...


class ConnectTurnedRound:
    async def on_ws_connect(self, ws: Any, req: Any) -> None: ...


class DisconnectTooShort:
    async def on_ws_disconnect(self, ws: Any) -> None: ...


class UnhandledTooShort:
    async def on_ws_unhandled(self, ws: Any, error: Any) -> None: ...


class UnhandledKeywordOnly:
    async def on_ws_unhandled(self, ws: Any, raw: Any, *, error: Any) -> None: ...


class TwoForOneType:
    async def on_ws_x(self, ws: Any) -> None: ...

    @handles_message('x')
    async def write(self, ws: Any) -> None: ...


class OneForOneTypeTwice:
    @handles_message('x', 'x')
    async def write(self, ws: Any) -> None: ...


class Reply:
    async def on_ws_reply(self, ws: Any) -> None: ...


class Error:
    async def on_ws_error(self, ws: Any) -> None: ...


class MarkedReply:
    @handles_message('reply')
    async def write(self, ws: Any) -> None: ...


class EmptyType:
    async def on_ws_(self, ws: Any) -> None: ...


class MarkedConnect:
    @handles_message('x')
    async def on_ws_connect(self, req: Any, ws: Any) -> None: ...


class MistypedSetting:
    ws_limit = Limits()

    async def on_ws_x(self, ws: Any) -> None: ...


class WrongLimits:
    ws_limits: ClassVar[dict[str, int]] = {'max_outbox_messages': 3}

    async def on_ws_x(self, ws: Any) -> None: ...


class WrongCrashPolicy:
    ws_crash_policy = 'ignore'

    async def on_ws_x(self, ws: Any) -> None: ...


class Inherits(NoCoroutine):
    pass


MISTAKES: list[tuple[type, str, str]] = [
    # the class, what its method or attribute is called in the text, the cure
    (NoCoroutine, 'NoCoroutine.on_ws_x', 'write `async def on_ws_x`'),
    (NoCoroutineByItsDecorator, 'NoCoroutineByItsDecorator.on_ws_x', 'a decorator on it has to be'),
    (AsyncGenerator, 'AsyncGenerator.on_ws_x', 'write `async def on_ws_x`'),
    (MarkedNoCoroutine, 'MarkedNoCoroutine.write', 'write `async def write`'),
    (LifeCycleNoCoroutine, 'LifeCycleNoCoroutine.on_ws_disconnect', 'write `async def'),
    (Inherits, 'Inherits.on_ws_x', 'write `async def on_ws_x`'),
    (StaticMethod, 'StaticMethod.on_ws_x', 'make it `async def on_ws_x(self'),
    (ClassMethod, 'ClassMethod.on_ws_x', 'make it `async def on_ws_x(self'),
    (Property, 'Property.on_ws_x', 'make it `async def on_ws_x(self'),
    (Partial, 'Partial.on_ws_x', 'make it `async def on_ws_x(self'),
    (Value, 'Value.on_ws_x', 'make it `async def on_ws_x(self'),
    (Builtin, 'Builtin.on_ws_x', 'write `async def on_ws_x`'),
    (
        UnknownParameter,
        "UnknownParameter.on_ws_x: nothing fills its parameter 'rom_name'",
        'rename',
    ),
    (UnknownParameterWithDefault, 'UnknownParameterWithDefault.on_ws_x', 'rename or remove it'),
    (UnknownKeywordParameter, 'UnknownKeywordParameter.on_ws_x', 'rename or remove it'),
    (UnknownLifeCycleParameter, 'UnknownLifeCycleParameter.on_ws_connect', 'rename or remove it'),
    (PositionalOnly, 'PositionalOnly.on_ws_x', 'remove the `/`'),
    (TakesNoWs, 'TakesNoWs.on_ws_x', 'declare `async def on_ws_x(self, ws, payload, message, **'),
    (PayloadForWs, 'PayloadForWs.on_ws_x', 'declare `async def on_ws_x(self, ws, payload, message'),
    (FieldForWs, 'FieldForWs.on_ws_x', 'declare `async def on_ws_x(self, ws, payload, message, **'),
    (TakesNoSelf, 'TakesNoSelf.on_ws_x', 'declare `async def on_ws_x(self, ws'),
    (ConnectTooShort, 'ConnectTooShort.on_ws_connect', 'on_ws_connect(self, req, ws, **params)`'),
    (
        ConnectTurnedRound,
        'ConnectTurnedRound.on_ws_connect',
        'on_ws_connect(self, req, ws, **params',
    ),
    (
        DisconnectTooShort,
        'DisconnectTooShort.on_ws_disconnect',
        '(self, ws, close_code, **params)`',
    ),
    (UnhandledTooShort, 'UnhandledTooShort.on_ws_unhandled', '(self, ws, raw, error, **params)`'),
    (
        UnhandledKeywordOnly,
        'UnhandledKeywordOnly.on_ws_unhandled',
        '(self, ws, raw, error, **params',
    ),
    (TwoForOneType, "TwoForOneType.write answers messages of type 'x', and so does", 'keep one'),
    (OneForOneTypeTwice, 'OneForOneTypeTwice.write', 'keep one'),
    (Reply, 'Reply.on_ws_reply', 'rename yours'),
    (Error, 'Error.on_ws_error', 'rename yours'),
    (MarkedReply, 'MarkedReply.write', 'rename yours'),
    (EmptyType, 'EmptyType.on_ws_', 'call it on_ws_<type>'),
    (
        MarkedConnect,
        'MarkedConnect.on_ws_connect',
        'put @handles_message and @parallel on a method',
    ),
    (MistypedSetting, 'MistypedSetting.ws_limit is no setting', 'ws_limits, ws_crash_policy'),
    (WrongLimits, 'WrongLimits.ws_limits={', 'expected a falcon_ws_mw.Limits'),
    (WrongCrashPolicy, "WrongCrashPolicy.ws_crash_policy='ignore'", "expected 'answer' or 'close'"),
]


@pytest.mark.parametrize(('cls', 'method', 'cure'), MISTAKES)
def test_a_mistake_is_refused_naming_file_method_and_cure(
    cls: type, method: str, cure: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_table(cls, frozenset({'room'}))

    text = str(caught.value)
    assert HERE in text
    assert method in text
    assert cure in text


@pytest.mark.parametrize(
    'field', ['self', 'req', 'ws', 'payload', 'message', 'close_code', 'raw', 'error']
)
def test_a_uri_field_that_shadows_a_parameter_of_ours_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_table(Chat, frozenset({'room', field}))

    text = str(caught.value)
    assert HERE in text
    assert f'the URI field {{{field}}}' in text
    assert 'rename the field' in text


def test_a_field_of_another_route_needs_a_default() -> None:
    class Room:
        async def on_ws_x(self, ws: Any, room: str) -> None: ...

    with pytest.raises(ConfigurationError) as caught:
        build_table(Room, frozenset(), frozenset({'room'}))

    text = str(caught.value)
    assert HERE in text
    assert "Room.on_ws_x: nothing fills its parameter 'room'" in text
    assert 'give it a default' in text


def test_an_unknown_parameter_is_answered_with_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r'available here: payload, message, room, seat'):
        build_table(UnknownParameter, frozenset({'seat', 'room'}))


def test_an_error_in_an_inherited_method_names_the_line_of_the_method() -> None:
    line = NoCoroutine.on_ws_x.__code__.co_firstlineno

    with pytest.raises(ConfigurationError, match=f'{HERE}:{line}: '):
        build_table(Inherits)


class BothConnects(WebSocketResource):
    async def on_connect(self, req: Any, ws: Any, **params: Any) -> bool:
        return True

    async def on_ws_connect(self, req: Any, ws: Any) -> None: ...


class BothDisconnects(WebSocketResource):
    async def on_disconnect(self, ws: Any, close_code: int) -> None: ...

    async def on_ws_disconnect(self, ws: Any, close_code: int) -> None: ...


class ShortConnectTooShort(WebSocketResource):
    async def on_connect(self, req: Any) -> bool:  # type: ignore[override]
        return True


class MarkedShortConnect(WebSocketResource):
    @handles_message('x')
    async def on_connect(self, req: Any, ws: Any, **params: Any) -> bool:
        return True


class MarkedMessage(WebSocketResource):
    @handles_message('x')
    async def on_message(self, ws: Any, message: Any) -> Any: ...


class MessageTooShort(WebSocketResource):
    async def on_message(self, ws: Any) -> Any: ...  # type: ignore[override]


class MessageNoCoroutine(WebSocketResource):
    def on_message(self, ws: Any, message: Any) -> Any: ...


@pytest.mark.parametrize(
    ('cls', 'method', 'cure'),
    [
        (BothConnects, 'BothConnects has both on_ws_connect and on_connect', 'keep one'),
        (BothDisconnects, 'has both on_ws_disconnect and on_disconnect', 'keep one'),
        (ShortConnectTooShort, 'ShortConnectTooShort.on_connect', '(self, req, ws, **params)`'),
        (MarkedShortConnect, 'MarkedShortConnect.on_connect is a life-cycle', 'of another name'),
        (MarkedMessage, 'MarkedMessage.on_message is a life-cycle', 'of another name'),
        (MessageTooShort, 'MessageTooShort.on_message', '(self, ws, message, **params)`'),
        (MessageNoCoroutine, 'MessageNoCoroutine.on_message', 'write `async def on_message`'),
    ],
)
def test_a_mistake_in_a_websocket_resource_is_refused_naming_file_method_and_cure(
    cls: type, method: str, cure: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_table(cls, short_names=True)

    text = str(caught.value)
    assert HERE in text
    assert method in text
    assert cure in text


@pytest.mark.parametrize('types', [(), ('',), ('a', ''), (1,), (None,), (b'x',)])
def test_the_decorator_wants_types_that_are_non_empty_text(types: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        handles_message(*types)

    assert str(caught.value).startswith(f'@handles_message{types!r}: expected')
    assert "write @handles_message('chat.message')" in str(caught.value)


def test_the_decorator_without_parentheses_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"write @handles_message\('chat\.message'\)"):
        handles_message(takes_nothing)  # type: ignore[arg-type]


def test_the_decorator_gives_the_function_back() -> None:
    async def write(self: Any, ws: Any) -> None: ...

    assert handles_message('x')(write) is write


# -- a fresh resource for each connection


class Seat:
    colour = 'red'

    def __init__(self, store: Any, size: int = 1) -> None:
        self.store = store
        self.size = size

    async def on_ws_x(self, ws: Any) -> None: ...


def test_each_connection_gets_an_instance_of_its_own() -> None:
    resource = PerConnectionResource(Seat, ('store',), {'size': 3})

    assert resource.make() is not resource.make()


def test_an_instance_is_made_with_the_arguments_of_the_route() -> None:
    seat = PerConnectionResource(Seat, ('store',), {'size': 3}).make()

    assert isinstance(seat, Seat)
    assert (seat.store, seat.size) == ('store', 3)


def test_other_components_read_it_like_the_class() -> None:
    assert PerConnectionResource(Seat, ('store',)).colour == 'red'


@pytest.mark.parametrize('name', ['on_ws_x', 'on_get', 'on_websocket'])
def test_falcon_finds_no_responder_on_it(name: str) -> None:
    assert not hasattr(PerConnectionResource(Seat, ('store',)), name)


def test_it_says_what_it_is() -> None:
    assert repr(PerConnectionResource(Seat, ('store',))) == '<Seat per connection>'


@pytest.mark.parametrize(
    ('args', 'kwargs', 'says'),
    [
        ((), {}, "missing a required argument: 'store'"),
        (('store', 1, 2), {}, 'too many positional arguments'),
        (('store',), {'color': 1}, "unexpected keyword argument 'color'"),
    ],
)
def test_arguments_that_the_class_does_not_take_are_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PerConnectionResource(Seat, args, kwargs)

    text = str(caught.value)
    assert HERE in text
    assert 'Seat cannot be made with the arguments given to add_websocket_route' in text
    assert says in text


async def responds(self: Any, req: Any, resp: Any) -> None: ...


@pytest.mark.parametrize('method', ['get', 'connect', 'checkout', 'websocket'])
def test_an_http_responder_is_refused_since_nothing_would_call_it(method: str) -> None:
    cls = type('Room', (), {f'on_{method}': responds, '__module__': __name__})

    with pytest.raises(ConfigurationError) as caught:
        PerConnectionResource(cls)

    text = str(caught.value)
    assert HERE in text
    assert f'Room.on_{method} would never be called' in text
    assert 'serve HTTP from a resource of its own' in text


def test_the_short_connect_of_a_websocket_resource_is_no_http_responder() -> None:
    assert isinstance(PerConnectionResource(ShortNames).make(), ShortNames)


def test_a_websocket_resource_has_no_other_http_responder() -> None:
    cls = type('Room', (WebSocketResource,), {'on_get': responds})

    with pytest.raises(ConfigurationError, match=r'Room\.on_get would never be called'):
        PerConnectionResource(cls)
