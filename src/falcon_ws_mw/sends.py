"""What a resource says that it sends: `@sends`, on its class or on its methods.

It is documentation that can be checked: in tests and in debug mode a message that no route
declares, or whose payload is another, fails its sender. Otherwise it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import inspect
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from falcon_ws_mw import payloads
from falcon_ws_mw.errors import ConfigurationError, UndeclaredMessage
from falcon_ws_mw.guards import mark_of
from falcon_ws_mw.payloads.base import PayloadType
from falcon_ws_mw.signatures import place

_SENDS_ATTRIBUTE: Final = '_falcon_ws_sends'

_NOT_SAID: Final = object()

Target = TypeVar('Target', bound=Callable[..., Any])


class Declared(NamedTuple):
    """A type of message that a resource sends.

    Attributes:
        type: Its type.
        payload: What its payload is; `None` for anything.
        reply: What the client's answer carries, likewise.
        is_request: Whether the client is to answer.
        description: What it is for.
        by: The class or the method that says so.
    """

    type: str
    payload: PayloadType | None
    reply: PayloadType | None
    is_request: bool
    description: str
    by: str


class _Mark(NamedTuple):
    type: str
    payload: Any
    reply: Any
    description: str


def sends(
    type: str, payload: Any = Any, *, reply: Any = _NOT_SAID, description: str = ''
) -> Callable[[Target], Target]:
    """Declare that a resource sends a type of message: on its class, or on one of its methods.

    It stands in the AsyncAPI document. Once a resource declares anything, what is sent to its
    clients is checked against it where `install(check_sends=True)` says so, or asyncio's debug
    mode is on: then `UndeclaredMessage` is raised to the sender. Text and bytes go unchecked.

    Args:
        type: The message's type.
        payload: What its payload is, as it could be annotated on a handler (default: anything).
        reply: What the client's answer carries, for a message that is sent by `ws.request`.
        description: What it is for, to read in the document.

    Raises:
        ConfigurationError: If the type is not non-empty text.
    """
    given: object = type
    if not isinstance(given, str) or not given:
        raise ConfigurationError(
            f'@sends({type!r}): expected the type of a message, non-empty text; write '
            "@sends('serverNewMessage', NewMessage)"
        )

    def mark(target: Target) -> Target:
        earlier = vars(target).get(_SENDS_ATTRIBUTE, ())
        setattr(target, _SENDS_ATTRIBUTE, (_Mark(type, payload, reply, description), *earlier))
        return target

    return mark


def declared_by(cls: type) -> Mapping[str, Declared]:
    """What a class declares that it sends, by type: its own marks, its bases' and its methods'.

    Raises:
        ConfigurationError: If a payload cannot be described, or a type is declared twice, with
            different payloads.
    """
    found: dict[str, Declared] = {}
    marks: dict[str, _Mark] = {}
    for owner, mark in _marks(cls):
        where = f'{place(cls)}: {owner} declares that it sends {mark.type!r}'
        known = marks.setdefault(mark.type, mark)
        if (known.payload, known.reply) != (mark.payload, mark.reply):
            raise ConfigurationError(
                f'{where}, and so does {found[mark.type].by}, with another payload or reply: '
                'declare it once, on the class'
            )
        if mark.type in found:
            continue
        try:
            found[mark.type] = Declared(
                mark.type,
                _type_of(mark.payload),
                None if mark.reply is _NOT_SAID else _type_of(mark.reply),
                mark.reply is not _NOT_SAID,
                mark.description,
                owner,
            )
        except Exception as error:  # a library of the app's own may raise anything
            raise ConfigurationError(f'{where}, with a payload or reply: {error}') from error
    return found


def _marks(cls: type) -> Iterable[tuple[str, _Mark]]:
    for base in cls.__mro__:
        for mark in vars(base).get(_SENDS_ATTRIBUTE, ()):
            yield base.__qualname__, mark
    for name in dir(cls):
        for mark in mark_of(inspect.getattr_static(cls, name), _SENDS_ATTRIBUTE, ()):
            yield f'{cls.__qualname__}.{name}', mark


def _type_of(annotation: Any) -> PayloadType | None:
    return None if annotation is Any else payloads.payload_type(annotation)


def check_sent(declared: Mapping[str, Declared], resource: str, type: str, payload: Any) -> None:
    """Check a message that is about to be sent to the clients of a resource.

    Args:
        declared: What the resource declares; nothing is checked if that is nothing.
        resource: Its class, for the error.
        type: The message's type.
        payload: What it carries.

    Raises:
        UndeclaredMessage: If it declares no such type, or another payload.
    """
    if not declared:
        return
    known = declared.get(type)
    if known is None:
        raise UndeclaredMessage(type, resource, declared=sorted(declared))
    if known.payload is None or _is_instance(payload, known.payload.annotation):
        return
    # As the client will see it: what has defaults or other names is written out.
    try:
        plain = orjson.loads(orjson.dumps(payload, payloads.to_json_default, payloads.JSON_OPTIONS))
    except TypeError:  # no JSON: an own envelope, or media handler, may carry it all the same
        plain = payloads.plain(payload)
    try:
        known.payload.convert(plain)
    except Exception as error:
        problems = known.payload.problems(error, plain)
        raise UndeclaredMessage(type, resource, problems=problems) from error


def _is_instance(value: Any, annotation: Any) -> bool:
    """Whether a value is of the declared class itself, so that its own library has checked it."""
    return (
        isinstance(annotation, type) and payloads.is_typed(value) and isinstance(value, annotation)
    )
