"""What a method wants to be called with, and whether it can be.

A signature is read once, when a table is built. What we cannot fill is refused there.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Mapping
import inspect
from types import SimpleNamespace
from typing import Any, Final, NamedTuple, TypeVar, get_type_hints

from falcon_ws_mw import payloads
from falcon_ws_mw.envelope import Incoming
from falcon_ws_mw.errors import ConfigurationError
from falcon_ws_mw.payloads.base import PayloadType, described

RESERVED_NAMES: Final = frozenset(
    {'self', 'req', 'ws', 'payload', 'message', 'close_code', 'raw', 'error'}
)
"""Parameter names that have a meaning, and so are no names for URI fields."""


class Responder(NamedTuple):
    """A method that the library calls.

    Attributes:
        name: Where it is, for messages and logs: `ChatRoom.on_ws_clientTyping`.
        function: The function as the class has it.
        named: What it takes by name for a message: `payload`, `message`.
        fields: Which URI fields it takes, `None` for all.
        message_by_position: Whether the message comes behind the `ws`.
        takes_more: Whether it takes anything else for a message than its payload by name, or is
            not simply awaited.
        payload: What its payload is; `None` for anything.
        parallel: How many messages one connection may have handled at once; 1 is one after the
            other.
        pool: Who shares that number: the handlers with the same name here.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    named: frozenset[str] = frozenset()
    fields: frozenset[str] | None = frozenset()
    message_by_position: bool = False
    takes_more: bool = True
    payload: PayloadType | None = None
    parallel: int = 1
    pool: str = ''

    def call(
        self, resource: object, positional: tuple[Any, ...], uri_params: Mapping[str, Any]
    ) -> Awaitable[Any]:
        """Call it with these arguments, and the URI fields that it takes."""
        return self.function(resource, *positional, **self._taken(uri_params))

    def handle(
        self, resource: object, ws: object, incoming: Incoming, uri_params: Mapping[str, Any]
    ) -> Awaitable[Any]:
        """Call it for a message, with as much of what there is as it takes."""
        if not self.takes_more:
            return self.function(resource, ws, payload=incoming.payload)
        arguments = self._taken(uri_params)
        if 'payload' in self.named:
            arguments['payload'] = incoming.payload
        if 'message' in self.named:
            arguments['message'] = incoming.message
        if self.message_by_position:
            return self.function(resource, ws, incoming.message, **arguments)
        return self.function(resource, ws, **arguments)

    def _taken(self, uri_params: Mapping[str, Any]) -> dict[str, Any]:
        fields = self.fields
        return {name: uri_params[name] for name in uri_params if fields is None or name in fields}


class SignatureReader:
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
        """Read one method.

        Args:
            name: Its name in the class.
            function: What the class has under it.
            positional: What it is called with by position, behind `self`.
            optional: What it may take by name, beside the fields of the URI template.

        Raises:
            ConfigurationError: If it cannot be called like that.
        """
        full_name = f'{self._cls.__qualname__}.{name}'
        where = f'{place(function, self._cls)}: {full_name}'
        _check_kind(where, name, function)
        expected = ('self', *positional)
        parameters = list(inspect.signature(function).parameters.values())
        if not self._takes_by_position(parameters, expected, optional):
            declared = ', '.join((*expected, *optional, '**params'))
            raise ConfigurationError(
                f'{where} is called with ({", ".join(expected)}) by position, and does not take '
                f'them like that: declare `async def {name}({declared})`'
            )
        by_name = [
            p
            for index, p in enumerate(parameters)
            if p.kind in {p.KEYWORD_ONLY, p.VAR_KEYWORD}
            or (index >= len(expected) and p.kind is not p.VAR_POSITIONAL)
        ]
        for parameter in by_name:
            self._check_parameter(where, parameter, optional)
        takes_all = any(p.kind is p.VAR_KEYWORD for p in by_name)
        names = {p.name for p in by_name if p.kind is not p.VAR_KEYWORD}
        named = frozenset(names.intersection(optional))
        fields = None if takes_all else self._fields & names
        return Responder(
            full_name,
            function,
            named,
            fields,
            message_by_position=positional == ('ws', 'message'),
            takes_more=named != {'payload'} or fields != frozenset(),
            payload=self._payload_type(where, function) if 'payload' in named else None,
        )

    def _payload_type(self, where: str, function: Any) -> PayloadType | None:
        """What converts the payload, by its annotation; `None` if it may be anything."""
        annotation = annotation_of(function, 'payload', self._cls)
        if any(annotation is each for each in (inspect.Parameter.empty, Any, object)):
            return None
        if isinstance(annotation, TypeVar) or bool(getattr(annotation, '__parameters__', None)):
            raise ConfigurationError(
                f'{where}: the annotation {annotation!r} of payload leaves a type open, so nothing '
                'could be checked: override the method with the type that it is here'
            )
        try:
            found = payloads.payload_type(annotation)
        except Exception as error:  # a library of the app's own may raise anything
            raise ConfigurationError(f'{where}: the annotation of payload: {error}') from error
        default = inspect.signature(function).parameters['payload'].default
        if default is None and not found.admits_null:
            raise ConfigurationError(
                f'{where}: the default None of payload is never used: annotate '
                f'`{described(annotation)} | None`, or remove it'
            )
        return found

    def _takes_by_position(
        self,
        parameters: list[inspect.Parameter],
        expected: tuple[str, ...],
        optional: tuple[str, ...],
    ) -> bool:
        """Whether the first parameters are those expected, under these names or neutral ones."""
        taken_names = {*optional, *self._fields, *RESERVED_NAMES}
        for index, name in enumerate(expected):
            if index >= len(parameters):
                return False
            parameter = parameters[index]
            if parameter.kind is parameter.VAR_POSITIONAL:
                return True
            if parameter.kind not in {
                parameter.POSITIONAL_ONLY,
                parameter.POSITIONAL_OR_KEYWORD,
            } or (parameter.name != name and parameter.name in taken_names):
                return False
        return True

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


def annotation_of(function: Any, name: str, cls: type | None = None) -> Any:
    """The annotation of one parameter, or of `'return'`, resolved.

    The others are not looked at: they may name what is imported for type checkers only.

    Args:
        function: The function.
        name: The parameter.
        cls: The class that it is in, whose names an annotation may use.

    Returns:
        `inspect.Parameter.empty` if there is none.

    Raises:
        ConfigurationError: If it names what cannot be found.
    """
    inner = inspect.unwrap(function)
    annotation = getattr(inner, '__annotations__', {}).get(name, inspect.Parameter.empty)
    if annotation is inspect.Parameter.empty or annotation is None:
        return annotation
    globalns = getattr(inner, '__globals__', {})
    bases = getattr(cls, '__mro__', ())
    owner = next(
        (base for base in bases if any(each is function for each in vars(base).values())), object
    )
    localns = {key: value for key, value in vars(owner).items() if key not in globalns}
    if inspect.isfunction(inner):
        localns.update(inspect.getclosurevars(inner).nonlocals)
    try:
        return get_type_hints(
            SimpleNamespace(__annotations__={name: annotation}),
            globalns=globalns,
            localns={key: localns[key] for key in localns if not hasattr(builtins, key)},
            include_extras=True,
        )[name]
    except Exception as error:
        raise ConfigurationError(
            f'{place(function, cls)}: the annotation {annotation!r} of {name} cannot be resolved '
            f'({error}): what it names has to be there at run time too, in the module or in the '
            'class; not in a function, and not under `if TYPE_CHECKING`'
        ) from error


def _check_kind(where: str, name: str, function: Any) -> None:
    if isinstance(function, (staticmethod, classmethod)) or not inspect.isroutine(function):
        raise ConfigurationError(f'{where} is no plain method: make it `async def {name}(self…)`')
    if not inspect.iscoroutinefunction(function):
        raise ConfigurationError(
            f'{where} is not a coroutine function: write `async def {name}`; a decorator on it has '
            'to be one too'
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
