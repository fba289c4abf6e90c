"""Which method answers which message.

For every resource class and URI template one table is built, once, and checked: each `on_ws_*`
method and each method under `@handles_message` has to be a coroutine function with parameters
that we can fill. A message's type is looked up in that table and nowhere else, so nothing that a
client sends can reach another attribute.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
import inspect
from typing import Any, Final, NamedTuple, TypeVar, get_args

from falcon_ws_mw.envelope import RESERVED_TYPES
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.options import DEFAULT_LIMITS, CrashPolicy, Limits

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

_OURS: Final = frozenset({'self', 'req', 'ws', 'payload', 'message', 'close_code', 'raw', 'error'})
"""Parameter names that have a meaning, and so are no names for URI fields."""

_TYPES_ATTRIBUTE: Final = '_falcon_ws_types'
_DEFAULT_ATTRIBUTE: Final = '_falcon_ws_default'

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


def _is_type_name(name: object) -> bool:
    return isinstance(name, str) and name != ''


def mark_default(function: Function) -> Function:
    """Mark a method of our own base class, which counts as not defined by the app."""
    setattr(function, _DEFAULT_ATTRIBUTE, True)
    return function


class Responder(NamedTuple):
    """A method that the library calls.

    Attributes:
        name: Where it is, for messages and logs: `ChatRoom.on_ws_clientTyping`.
        function: The function as the class has it.
        named: Which of our keyword arguments it takes: `payload`, `message`.
        fields: Which URI fields it takes, `None` for all.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    named: frozenset[str]
    fields: frozenset[str] | None

    def call(
        self,
        resource: object,
        positional: tuple[Any, ...],
        uri_params: Mapping[str, Any],
        **named: Any,
    ) -> Awaitable[Any]:
        """Call it with as much of what there is as it takes."""
        fields = self.fields
        arguments = {
            name: value for name, value in uri_params.items() if fields is None or name in fields
        }
        for name in self.named:
            arguments[name] = named[name]
        return self.function(resource, *positional, **arguments)


@dataclass(frozen=True, slots=True)
class ResponderTable:
    """What a resource class answers on one URI template.

    Attributes:
        messages: Message type to responder.
        connect: `on_ws_connect`, if there is one.
        only_true_accepts: Whether `connect` must return `True` for the handshake to be accepted;
            else anything but `False` accepts.
        disconnect: `on_ws_disconnect`, if there is one.
        unhandled: `on_ws_unhandled`, if there is one.
        any_message: What takes well-formed messages of other types, if there is anything.
        limits: The route's limits.
        crash_policy: What a crash in a handler does, `None` for the app's choice.
    """

    messages: Mapping[str, Responder]
    connect: Responder | None
    only_true_accepts: bool
    disconnect: Responder | None
    unhandled: Responder | None
    any_message: Responder | None
    limits: Limits
    crash_policy: CrashPolicy | None


def has_responders(cls: type) -> bool:
    """Whether a class has anything for us, and so its routes are ours."""
    return any(True for _ in _candidates(cls))


def build_table(
    cls: type,
    fields: frozenset[str] = frozenset(),
    fields_elsewhere: frozenset[str] = frozenset(),
    *,
    limits: Limits = DEFAULT_LIMITS,
    short_names: bool = False,
) -> ResponderTable:
    """Build and check the table of a class.

    Args:
        cls: The resource's class.
        fields: The fields of the URI template.
        fields_elsewhere: Fields of the other templates that the class is on. A parameter of such
            a name is fine as long as it has a default.
        limits: The app's limits.
        short_names: Whether the class is a `WebSocketResource`.

    Raises:
        ConfigurationError: Naming the file, the method and the cure.
    """
    shadowing = sorted(fields & _OURS)
    if shadowing:
        raise ConfigurationError(
            f'{place(cls)}: the URI field {{{shadowing[0]}}} has a name that the library uses '
            f'for its own arguments ({", ".join(sorted(_OURS))}): rename the field'
        )
    reader = _SignatureReader(cls, fields, fields_elsewhere)
    messages: dict[str, Responder] = {}
    for name, function, types in _candidates(cls):
        if name in LIFE_CYCLE:
            continue
        if short_names and name in _SHORT_LIFE_CYCLE:
            raise _marked_life_cycle(cls, name, function)
        responder = reader.read(name, function, ('ws',), optional=('payload', 'message'))
        for message_type in types:
            _check_type(cls, name, message_type, messages)
            messages[message_type] = responder
    life_cycle = {hook: _life_cycle(cls, hook, reader, short_names) for hook in LIFE_CYCLE}
    any_message = _defined(cls, 'on_message') if short_names else None
    settings = _settings(cls)
    own_limits: Limits = settings.get('ws_limits', Limits())
    return ResponderTable(
        messages=messages,
        connect=life_cycle['on_ws_connect'],
        only_true_accepts=short_names and _defined(cls, 'on_ws_connect') is None,
        disconnect=life_cycle['on_ws_disconnect'],
        unhandled=life_cycle['on_ws_unhandled'],
        any_message=any_message and reader.read('on_message', any_message, ('ws', 'message')),
        limits=own_limits.over(limits),
        crash_policy=settings.get('ws_crash_policy'),
    )


# -- finding


def _candidates(cls: type) -> list[tuple[str, Any, tuple[str, ...]]]:
    """Each attribute that is for us: its name, what it is, and the message types it names."""
    found = []
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        marked = getattr(member, _TYPES_ATTRIBUTE, None)
        if marked is not None:
            found.append((name, member, marked))
        elif name.startswith(PREFIX) and member is not None:
            found.append((name, member, (name.removeprefix(PREFIX),)))
    return found


def _defined(cls: type, name: str) -> Any:
    """An attribute that the app defined, `None` if it did not."""
    member = inspect.getattr_static(cls, name, None)
    return None if getattr(member, _DEFAULT_ATTRIBUTE, False) else member


def _life_cycle(
    cls: type, hook: str, reader: _SignatureReader, short_names: bool
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
    if hasattr(function, _TYPES_ATTRIBUTE):
        raise _marked_life_cycle(cls, name, function)
    return reader.read(name, function, LIFE_CYCLE[hook])


def _marked_life_cycle(cls: type, name: str, function: Any) -> ConfigurationError:
    return ConfigurationError(
        f'{place(function, cls)}: {cls.__qualname__}.{name} is a life-cycle method, and no message '
        'reaches it by type: put @handles_message on a method of another name'
    )


def _check_type(cls: type, name: str, message_type: str, taken: Mapping[str, Responder]) -> None:
    where = f'{place(inspect.getattr_static(cls, name), cls)}: {cls.__qualname__}.{name}'
    if not message_type:
        raise ConfigurationError(f'{where} names no message type: call it on_ws_<type>')
    if message_type in RESERVED_TYPES:
        raise ConfigurationError(
            f'{where}: {message_type!r} is a message type of the library itself: rename yours'
        )
    if message_type in taken:
        raise ConfigurationError(
            f'{where} answers messages of type {message_type!r}, and so does '
            f'{taken[message_type].name}: keep one'
        )


# -- settings


def _check_limits(value: object) -> bool:
    return isinstance(value, Limits)


def _check_crash_policy(value: object) -> bool:
    return value in get_args(CrashPolicy)


_SETTINGS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    'ws_limits': (_check_limits, 'a falcon_ws_mw.Limits'),
    'ws_crash_policy': (_check_crash_policy, "'answer' or 'close'"),
}
"""The `ws_…` attributes that configure a route: how each is checked, and what it should be."""


def _settings(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dir(cls):
        if not name.startswith('ws_'):
            continue
        value = getattr(cls, name)
        if name in _SETTINGS:
            is_valid, expected = _SETTINGS[name]
            if not is_valid(value):
                raise ConfigurationError(
                    f'{place(cls)}: {cls.__qualname__}.{name}={value!r}: expected {expected}'
                )
            found[name] = value
        elif not callable(value):
            raise ConfigurationError(
                f'{place(cls)}: {cls.__qualname__}.{name} is no setting of the library: '
                f'there are {", ".join(_SETTINGS)}; rename it if it is yours'
            )
    return found


# -- signatures


class _SignatureReader:
    """Reads what a method wants, and refuses what we cannot give it."""

    def __init__(self, cls: type, fields: frozenset[str], fields_elsewhere: frozenset[str]) -> None:
        self._cls = cls
        self._fields = fields
        self._fields_elsewhere = fields_elsewhere

    def read(
        self,
        name: str,
        function: Any,
        positional: tuple[str, ...],
        optional: tuple[str, ...] = (),
    ) -> Responder:
        full_name = f'{self._cls.__qualname__}.{name}'
        where = f'{place(function, self._cls)}: {full_name}'
        if isinstance(function, (staticmethod, classmethod)) or not inspect.isroutine(function):
            raise ConfigurationError(
                f'{where} is no plain method: make it `async def {name}(self…)`'
            )
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f'{where} is not a coroutine function: write `async def {name}`; a decorator '
                'on it has to be one too'
            )
        expected = ('self', *positional)
        parameters = list(inspect.signature(function).parameters.values())
        leading = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
        has_args = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        named = {*optional, *self._fields, *_OURS}
        misplaced = [
            parameter.name
            for parameter, position in zip(leading, expected, strict=False)
            if parameter.name != position and parameter.name in named
        ]
        if misplaced or (len(leading) < len(expected) and not has_args):
            raise ConfigurationError(
                f'{where} is called with ({", ".join(expected)}) by position, and does not take '
                'them like that: '
                f'declare `async def {name}({", ".join((*expected, *optional, "**params"))})`'
            )
        by_name = [
            p
            for p in parameters
            if p not in leading[: len(expected)] and p.kind is not p.VAR_POSITIONAL
        ]
        for parameter in by_name:
            self._check_parameter(where, parameter, optional)
        takes_all = any(p.kind is p.VAR_KEYWORD for p in by_name)
        names = {p.name for p in by_name}
        return Responder(
            full_name,
            function,
            frozenset(names.intersection(optional)),
            None if takes_all else self._fields & names,
        )

    def _check_parameter(
        self, where: str, parameter: inspect.Parameter, optional: tuple[str, ...]
    ) -> None:
        name = parameter.name
        if parameter.kind is parameter.VAR_KEYWORD:
            return
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigurationError(f'{where}: {name!r} is passed by name: remove the `/`')
        if name in optional or name in self._fields:
            return
        has_default = parameter.default is not parameter.empty
        if has_default and name in self._fields_elsewhere:
            return
        available = ', '.join((*optional, *sorted(self._fields))) or 'none'
        cure = 'give it a default' if name in self._fields_elsewhere else 'rename or remove it'
        raise ConfigurationError(
            f'{where}: nothing fills its parameter {name!r} (available here: {available}): {cure}'
        )


def place(thing: Any, owner: type | None = None) -> str:
    """Where something is defined, for errors: its file and, for a function, its line.

    Args:
        thing: A class, or what a class has under a name.
        owner: That class, whose file is named where the thing itself cannot tell.
    """
    if isinstance(thing, (staticmethod, classmethod)):
        thing = thing.__func__
    try:
        if isinstance(thing, type):
            return inspect.getsourcefile(thing) or thing.__module__
        code = inspect.unwrap(thing).__code__
    except (TypeError, AttributeError, OSError):
        return place(owner) if owner is not None else getattr(thing, '__module__', repr(thing))
    return f'{code.co_filename}:{code.co_firstlineno}'
