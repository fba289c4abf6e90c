"""Which method answers which message.

For every resource class and URI template one table is built, once, and checked: each `on_ws_*`
method and each method under `@handles_message` has to be a coroutine function with parameters
that we can fill. A message's type is looked up in that table and nowhere else, so nothing that a
client sends can reach another attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
import inspect
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from falcon_ws_mw.checked import CheckedCodec
from falcon_ws_mw.codec import Codec, Codecs
from falcon_ws_mw.envelope import Envelope, types_of_answers
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.guards import (
    AFTER_ATTRIBUTE,
    BEFORE_ATTRIBUTE,
    Hook,
    check_hooks,
    mark_of,
    recorded,
)
from falcon_ws_mw.options import DEFAULT_SETTINGS, RouteSettings
from falcon_ws_mw.payloads.base import PayloadType, described
from falcon_ws_mw.rights import Authorize, authorizer_of
from falcon_ws_mw.sends import Declared, declared_by
from falcon_ws_mw.settings import has_client_topics, is_count, read_settings
from falcon_ws_mw.signatures import RESERVED_NAMES, Responder, SignatureReader, place

PREFIX: Final = 'on_ws_'

LIFE_CYCLE: Final = {
    'on_ws_connect': ('req', 'ws'),
    'on_ws_disconnect': ('ws', 'close_code'),
    'on_ws_unhandled': ('ws', 'raw', 'error'),
}
"""The life-cycle names and what each is called with, before URI fields."""

SHORT_NAMES: Final = {
    'on_ws_connect': 'on_connect',
    'on_ws_disconnect': 'on_disconnect',
}
"""The same on a `WebSocketResource`, which is no Falcon resource: no HTTP CONNECT is mapped."""

_SHORT_LIFE_CYCLE: Final = frozenset({*SHORT_NAMES.values(), 'on_message'})

_TYPES_ATTRIBUTE: Final = '_falcon_ws_types'
_DEFAULT_ATTRIBUTE: Final = '_falcon_ws_default'
_PARALLEL_ATTRIBUTE: Final = '_falcon_ws_parallel'

Function = TypeVar('Function', bound=Callable[..., Any])


def handles_message(*types: str) -> Callable[[Function], Function]:
    """Make a method answer messages of these types, whatever it is called.

    For types that are no Python names::

        @handles_message('chat.message', 'chat.edit')
        async def write(self, ws, payload, room_name): ...

    Args:
        types: One type or more. They replace what the method's name would say.

    Raises:
        ConfigurationError: If there is none, or one is not non-empty text.
    """
    if not types or not all(_is_type_name(name) for name in types):
        raise ConfigurationError(
            f'@handles_message{types!r}: expected one message type or more, each non-empty text; '
            "write @handles_message('chat.message')"
        )

    def mark(function: Function) -> Function:
        earlier = getattr(function, _TYPES_ATTRIBUTE, ())
        setattr(function, _TYPES_ATTRIBUTE, (*earlier, *types))
        return function

    return mark


def parallel(max_at_once: int) -> Callable[[Function], Function]:
    """Have messages of a handler handled beside each other, and beside those that come after them.

    They are begun in the order in which they arrive, and end as they end: so their answers, and
    what they send, have no order. Without it, and without `ws_max_parallel`, one message of a
    connection is handled after the other. So it is with 1, in a resource with `ws_max_parallel`:
    such a handler begins in its turn, and nothing behind it before it has ended.

    Args:
        max_at_once: How many messages one connection may have in it at once. Further ones wait,
            and what arrives behind them too.

    Raises:
        ConfigurationError: If it is no whole number from 1.
    """
    if not is_count(max_at_once):
        raise ConfigurationError(
            f'@parallel({max_at_once!r}): expected a whole number from 1; write @parallel(4)'
        )

    def mark(function: Function) -> Function:
        setattr(function, _PARALLEL_ATTRIBUTE, max_at_once)
        return function

    return mark


def _is_type_name(name: object) -> bool:
    if not isinstance(name, str) or not name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate: no frame could carry it
        return False
    return True


def mark_default(function: Function) -> Function:
    """Mark a method of our own base class, which counts as not defined by the app."""
    setattr(function, _DEFAULT_ATTRIBUTE, True)
    return function


@dataclass(frozen=True, slots=True)
class ResponderTable:
    """What a resource class answers on one URI template.

    Attributes:
        name: The class, for logs.
        messages: Message type to responder.
        connect: `on_ws_connect`, if there is one.
        only_true_accepts: Whether `connect` must return `True` for the handshake to be accepted;
            else anything but `False` accepts.
        disconnect: `on_ws_disconnect`, if there is one.
        unhandled: `on_ws_unhandled`, if there is one.
        any_message: What takes well-formed messages of other types, if there is anything.
        before: What runs at the handshake, before `connect`.
        after: What runs at the end, after `disconnect`.
        settings: The route's settings.
        payloads: Message type to what its payload is; `None` for anything.
        sends: What it declares that it sends, by type.
        authorize: `ws_authorize`, if there is one.
        strangers: What it answers to those of whom nobody knows yet who they are; `None` if the
            same as to anybody.
    """

    name: str
    messages: Mapping[str, Responder]
    connect: Responder | None
    only_true_accepts: bool
    disconnect: Responder | None
    unhandled: Responder | None
    any_message: Responder | None
    before: tuple[Hook, ...]
    after: tuple[Hook, ...]
    settings: RouteSettings
    payloads: Mapping[str, PayloadType | None]
    sends: Mapping[str, Declared]
    authorize: Authorize | None = None
    strangers: ResponderTable | None = None

    @property
    def wants_whole(self) -> bool:
        """Whether a handler takes the whole decoded message."""
        return any('message' in each.named for each in self.messages.values())

    def codec(self, codecs: Codecs, subprotocol: str | None) -> Codec:
        """How a connection is spoken to.

        Args:
            codecs: Those of the app.
            subprotocol: What was negotiated.
        """
        codec = codecs.speaking(self.settings.envelope_for(subprotocol))
        if not codecs.check_sends or not self.sends:
            return codec
        return CheckedCodec(codec, self.name, self.sends)


_known: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def has_responders(cls: type) -> bool:
    """Whether a class has anything for us, and so its routes are ours."""
    known = _known.get(cls)
    if known is None:
        known = _known[cls] = bool(_candidates(cls)) or has_client_topics(cls)
    return known


def build_table(
    cls: type,
    fields: frozenset[str] = frozenset(),
    fields_elsewhere: frozenset[str] = frozenset(),
    *,
    settings: RouteSettings = DEFAULT_SETTINGS,
    short_names: bool = False,
) -> ResponderTable:
    """Build and check the table of a class.

    Args:
        cls: The resource's class.
        fields: The fields of the URI template.
        fields_elsewhere: Fields of the other templates that the class is on. A parameter of such
            a name is fine as long as it has a default.
        settings: The app's settings.
        short_names: Whether the class is a `WebSocketResource`.

    Raises:
        ConfigurationError: Naming the file, the method and the cure.
    """
    shadowing = sorted(fields & RESERVED_NAMES)
    if shadowing:
        raise ConfigurationError(
            f'{place(cls)}: the URI field {{{shadowing[0]}}} has a name that the library uses '
            f'for its own arguments ({", ".join(sorted(RESERVED_NAMES))}): rename the field'
        )
    names = {name for name, *_ in _candidates(cls)}
    check_hooks(cls, names | _SHORT_LIFE_CYCLE if short_names else names)
    reader = SignatureReader(cls, fields, fields_elsewhere)
    route_settings = read_settings(cls, settings)
    reserved = {name for each in route_settings.envelopes for name in types_of_answers(each)}
    messages: dict[str, Responder] = {}
    for name, function, types in _candidates(cls):
        if name in LIFE_CYCLE:
            continue
        if short_names and name in _SHORT_LIFE_CYCLE:
            raise _marked_life_cycle(cls, name, function)
        responder = reader.read(name, function, ('ws',), optional=('payload', 'message'))
        responder = _run_in_parallel(responder, function, route_settings.max_parallel)
        for message_type in types:
            _check_type(cls, name, message_type, messages, reserved)
            messages[message_type] = responder
    declared = declared_by(cls)
    _check_declared(cls, declared, reserved, route_settings)
    for name, responder in messages.items():
        _check_flat(f'{responder.name}, for {name!r}', responder.payload, route_settings)
    life_cycle = {hook: _life_cycle(cls, hook, reader, short_names) for hook in LIFE_CYCLE}
    any_message = _any_message(cls, reader, route_settings.max_parallel) if short_names else None
    return ResponderTable(
        name=cls.__qualname__,
        messages=messages,
        connect=life_cycle['on_ws_connect'],
        only_true_accepts=short_names and _defined(cls, 'on_ws_connect') is None,
        disconnect=life_cycle['on_ws_disconnect'],
        unhandled=life_cycle['on_ws_unhandled'],
        any_message=any_message,
        before=recorded(cls, BEFORE_ATTRIBUTE),
        after=recorded(cls, AFTER_ATTRIBUTE),
        settings=route_settings,
        payloads={name: responder.payload for name, responder in messages.items()},
        sends=declared,
        authorize=authorizer_of(cls),
    )


# -- finding


def _candidates(cls: type) -> list[tuple[str, Any, tuple[str, ...]]]:
    """Each attribute that is for us: its name, what it is, and the message types it names."""
    found = []
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        types = _marked_types(cls, name)
        if member is not None and types:
            found.append((name, member, types))
        elif member is not None and name.startswith(PREFIX):
            found.append((name, member, (name.removeprefix(PREFIX),)))
    return found


def _marked_types(cls: type, name: str) -> tuple[str, ...]:
    """What `@handles_message` says of a method; one that overrides it need not say it again."""
    for base in cls.__mro__:
        types: tuple[str, ...] = mark_of(vars(base).get(name), _TYPES_ATTRIBUTE, ())
        if types:
            return types
    return ()


def _defined(cls: type, name: str) -> Any:
    """An attribute that the app defined, `None` if it did not."""
    member = inspect.getattr_static(cls, name, None)
    return None if mark_of(member, _DEFAULT_ATTRIBUTE, False) else member


def _life_cycle(
    cls: type, hook: str, reader: SignatureReader, short_names: bool
) -> Responder | None:
    function = _defined(cls, hook)
    name = hook
    short = SHORT_NAMES.get(hook) if short_names else None
    if short is not None and _defined(cls, short) is not None:
        if function is not None:
            raise ConfigurationError(
                f'{place(function)}: {cls.__qualname__} has both {hook} and {short}, which are '
                'one and the same: keep one'
            )
        name, function = short, _defined(cls, short)
    if function is None:
        return None
    if _marked_types(cls, name) or mark_of(function, _PARALLEL_ATTRIBUTE, None) is not None:
        raise _marked_life_cycle(cls, name, function)
    return reader.read(name, function, LIFE_CYCLE[hook])


def _check_declared(
    cls: type, declared: Mapping[str, Declared], reserved: Container[str], settings: RouteSettings
) -> None:
    """Check what a class declares that it sends against the envelopes of its route."""
    asks = any(not isinstance(each, Envelope) or each.id_field for each in settings.envelopes)
    for each in declared.values():
        where = f'{place(cls)}: {each.by} declares that it sends {each.type!r}'
        if each.type in reserved:
            raise ConfigurationError(f'{where}, a message type of the library itself: rename yours')
        if each.is_request and not asks:
            raise ConfigurationError(
                f'{where} and is answered, but the envelope has no ids (id_field=None): leave out '
                'the reply'
            )
        _check_flat(where, each.payload, settings)


def _check_flat(where: str, payload: PayloadType | None, settings: RouteSettings) -> None:
    """In the flat form the payload is the message, an object."""
    if payload is None or payload.is_mapping:
        return
    if any(isinstance(each, Envelope) and not each.payload_field for each in settings.envelopes):
        raise ConfigurationError(
            f'{where}: the payload is the whole object here (payload_field=None), and '
            f'{described(payload.annotation)} is none: make it a type that is written as an object'
        )


def _run_in_parallel(responder: Responder, function: Any, of_route: int) -> Responder:
    own: int | None = mark_of(function, _PARALLEL_ATTRIBUTE, None)
    at_once = of_route if own is None else own
    if at_once == 1:
        return responder
    pool = '' if own is None else responder.name
    return responder._replace(parallel=at_once, pool=pool, takes_more=True)


def _any_message(cls: type, reader: SignatureReader, of_route: int) -> Responder | None:
    function = _defined(cls, 'on_message')
    if function is None:
        return None
    responder = reader.read('on_message', function, ('ws', 'message'))
    return _run_in_parallel(responder, function, of_route)


def _marked_life_cycle(cls: type, name: str, function: Any) -> ConfigurationError:
    return ConfigurationError(
        f'{place(function, cls)}: {cls.__qualname__}.{name} is a life-cycle method, and no message '
        'reaches it by type: put @handles_message and @parallel on a method of another name'
    )


def _check_type(
    cls: type,
    name: str,
    message_type: str,
    taken: Mapping[str, Responder],
    reserved: Container[str],
) -> None:
    where = f'{place(inspect.getattr_static(cls, name), cls)}: {cls.__qualname__}.{name}'
    if not message_type:
        raise ConfigurationError(f'{where} names no message type: call it on_ws_<type>')
    if message_type in reserved:
        raise ConfigurationError(
            f'{where}: {message_type!r} is a message type of the library itself: rename yours, or '
            "the library's by ws_envelope = Envelope(reply_type=…, error_type=…)"
        )
    if message_type in taken:
        raise ConfigurationError(
            f'{where} answers messages of type {message_type!r}, and so does '
            f'{taken[message_type].name}: keep one'
        )
