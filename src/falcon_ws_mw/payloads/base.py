"""What a payload library has to know, for payloads of its types to be checked and published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
import datetime as dt
import enum
from itertools import islice
import numbers
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    NewType,
    TypeAlias,
    Union,
    get_args,
    get_origin,
)
import uuid

from falcon_ws_mw.envelope import Envelope, Incoming

Direction: TypeAlias = Literal['in', 'out']
"""Which form a schema describes: what is accepted from a client, or what is sent to it."""

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema (2020-12)."""


_NO_OBJECTS: Final = (
    Sequence,
    AbstractSet,
    numbers.Number,
    enum.Enum,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
)
"""Classes whose values no JSON object stands for."""


class Problem(NamedTuple):
    """One thing that is wrong with a payload.

    Attributes:
        path: Where, as a JSON Pointer (RFC 6901) into the payload; `''` is the payload itself.
        message: What was found and what was expected.
    """

    path: str
    message: str


MAX_PROBLEMS: Final = 20
"""How many problems of one payload are told: a client can make as many as it has bytes."""

MAX_PATH_CHARACTERS: Final = 250
"""The longest path that is told; what is wrong further down is told of what it is in."""

MAX_MESSAGE_CHARACTERS: Final = 250
"""The longest message of a problem: libraries quote what they found, and that may be long."""

NOT_CONVERTIBLE: Final = Problem('', 'could not be converted')
"""What is said where a converter fails by anything but its own way to say what is wrong."""


def problem_at(steps: Iterable[object], message: str) -> Problem:
    """The problem at a place in a payload, as short as may be sent.

    Args:
        steps: The keys and indexes that lead there.
        message: What was found and what was expected; it may quote the client at any length.
    """
    path = ''
    for step in steps:
        longer = f'{path}/{str(step).replace("~", "~0").replace("/", "~1")}'
        if len(longer) > MAX_PATH_CHARACTERS or _as_utf8(longer) != longer:
            break
        path = longer
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = f'{message[: MAX_MESSAGE_CHARACTERS - 1]}…'
    return Problem(path, _as_utf8(message))


def distinct(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, and no more than are told: the rest is not looked at.

    Nor are many alike: of what is nested deeply all paths are cut to the same.
    """
    found: dict[Problem, None] = {}
    for problem in islice(problems, 5 * MAX_PROBLEMS):
        found[problem] = None
        if len(found) == MAX_PROBLEMS:
            break
    return list(found)


def _as_utf8(text: str) -> str:
    """The text, without lone surrogates: what decodes JSON may let them through."""
    return text if text.isascii() else text.encode(errors='replace').decode()


class Schemas(NamedTuple):
    """Schemas that may refer to each other.

    Attributes:
        of: One schema for each annotation that was asked for, in order.
        components: Name to schema, for what they refer to.
    """

    of: list[Schema]
    components: Mapping[str, Schema]


def unwrapped(annotation: Any) -> Any:
    """What an annotation stands for: the value of an alias, the type that a `NewType` is of."""
    while True:
        origin = get_origin(annotation)
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == 'TypeAliasType':  # of `typing` from Python 3.12
            annotation = annotation.__value__
        elif type(origin).__name__ == 'TypeAliasType':
            annotation = origin.__value__[get_args(annotation)]
        else:
            return annotation


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or none if the annotation is something else."""
    annotation = unwrapped(annotation)
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else ()


def admits_null(annotation: Any) -> bool:
    """Whether `None` is a value of an annotation."""
    annotation = _bare(annotation)
    members = union_members(annotation)
    if members:
        return any(map(admits_null, members))
    if get_origin(annotation) is Literal:
        return None in get_args(annotation)
    return any(annotation is each for each in (Any, object, None, type(None)))


def is_mapping(annotation: Any) -> bool:
    """Whether a JSON object can stand for a value of an annotation, as far as its class tells."""
    annotation = _bare(annotation)
    members = union_members(annotation)
    if members:
        return any(map(is_mapping, members))
    cls = get_origin(annotation) or annotation
    if cls is Any or not isinstance(cls, type):
        return cls is Any
    if cls in {type(None), Collection} or issubclass(cls, _NO_OBJECTS):
        return False
    return not getattr(getattr(cls, '__struct_config__', None), 'array_like', False)


def _bare(annotation: Any) -> Any:
    """An annotation without metadata and aliases; of a pydantic `RootModel` what it is one of."""
    while True:
        inner = unwrapped(annotation)
        if get_origin(inner) is Annotated:
            inner = inner.__origin__
        elif getattr(inner, '__pydantic_root_model__', False) is True:
            inner = inner.model_fields['root'].annotation
        if inner is annotation:
            return inner
        annotation = inner


def described(annotation: Any) -> str:
    """An annotation as its user wrote it, for errors."""
    name = getattr(annotation, '__qualname__', None) if get_origin(annotation) is None else None
    text = (name or repr(annotation)).replace('typing.', '')
    return text if len(text) <= 100 else f'{text[:100]}…'


def refused(annotation: Any, library: str, reason: str) -> TypeError:
    """The error for an annotation that a library cannot convert to.

    Args:
        annotation: What was found.
        library: The library's name.
        reason: What it has against it.
    """
    return TypeError(
        f'{library} cannot convert a payload to {described(annotation)}: {reason}; expected dict, '
        'list, a dataclass, TypedDict, msgspec.Struct, pydantic model or what is made of them: use '
        'one of these, or register_payload_library() for a type of your own'
    )


class PayloadLibrary(ABC):
    """Converts and describes the payloads of some family of types.

    Attributes:
        name: What it is called in errors.
        extra: The extra of this package that installs it, `None` if nothing needs to be.
    """

    name: ClassVar[str]
    extra: ClassVar[str | None] = None

    @abstractmethod
    def handles(self, annotation: Any) -> bool:
        """Whether an annotation is this library's business. Asked at start-up only."""

    @abstractmethod
    def converter(self, annotation: Any) -> Callable[[Any], Any]:
        """What makes a value of the annotated type out of decoded JSON. Called once, at start-up.

        What it returns raises an exception of the library's choice for a value that does not fit.

        Raises:
            TypeError: If the library cannot convert to this type after all.
        """

    @abstractmethod
    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        """What is wrong with a value.

        Args:
            error: What the converter raised.
            annotation: What it should have become.
            value: The value.
        """

    @abstractmethod
    def owns(self, value: Any) -> bool:
        """Whether a value is of one of the library's types, so that `to_plain` takes it."""

    @abstractmethod
    def to_plain(self, value: Any) -> Any:
        """The value as decoded JSON would have it: the counterpart of the converter."""

    def one_pass(
        self, envelope: Envelope, types: Mapping[str, PayloadType | None]
    ) -> Callable[[str], Incoming] | None:
        """What reads text straight into typed payloads, for a library that can.

        It may raise anything for whatever is unusual about a text; that is read again thoroughly.

        Args:
            envelope: Where type, payload and id stand.
            types: What the payload of each type of message is; `None` for anything, whose absent
                or null payload is `{}`. Those of other libraries are among them: what they take
                is to be read as it is and converted by their own `convert`, an absent or null one
                from their `empty`.

        Returns:
            `None` if it cannot.
        """
        return None

    @abstractmethod
    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        """The JSON Schemas of annotated types, by the library's own generator.

        Args:
            annotations: The types.
            ref_template: What a reference looks like, with `{name}` for a component's name.
            direction: Which form they describe.
        """


@dataclass(frozen=True, slots=True)
class PayloadType:
    """An annotation of a payload, with everything chosen that is needed to convert to it.

    Attributes:
        annotation: The annotation, resolved.
        library: What converts it.
        convert: Decoded JSON to a value of the type; raises what `problems` can read.
        admits_null: Whether `None` is one of its values.
        is_mapping: Whether a JSON object is one of its values, or all.
    """

    annotation: Any
    library: PayloadLibrary
    convert: Callable[[Any], Any]
    admits_null: bool
    is_mapping: bool

    @property
    def empty(self) -> dict[str, Any] | None:
        """What an absent or null payload is converted from."""
        return {} if self.is_mapping and not self.admits_null else None

    def problems(self, error: Exception, value: Any) -> list[Problem]:
        """What is wrong with a value for which `convert` raised an error."""
        return self.library.problems(error, self.annotation, value)
