"""Payloads of every type that msgspec knows, by msgspec itself: strictly, so that `"1"` is no 1.

What msgspec says is wrong is taken from the text of its error, since it is nowhere else: `Expected
`int`, got `str` - at `$.a[0].b``. The path in it is no more than a hint: `[...]` stands for some
key of a dict, and a field's name may have dots and brackets too. So it is walked in the value, and
keys are found by conversions of copies with something impossible planted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
import re
from typing import Any, Final

import msgspec

from falcon_ws_mw.envelope import Envelope, Incoming
from falcon_ws_mw.payloads.base import (
    NOT_CONVERTIBLE,
    Direction,
    PayloadLibrary,
    PayloadType,
    Problem,
    Schemas,
    described,
    problem_at,
    refused,
)
from falcon_ws_mw.payloads.one_pass import one_pass_reader

MAX_CONVERSIONS: Final = 64
"""How many conversions may be spent on finding the keys in a path.

10,000 keys take 14. What is nested so that it takes more is told of what it is in.
"""

_MAX_STEPS: Final = 2_000
"""How many steps may be tried for a path: more than values can be nested, each tried once."""

_AT: Final = re.compile(r'(?P<message>.*) - at `(?P<is_key>key` in `)?\$(?P<path>.*)`', re.DOTALL)
_OF_A_FIELD: Final = re.compile(
    r'Object (?:missing required|contains unknown) field `(?P<name>.*)`', re.DOTALL
)
_PARTS: Final = (msgspec.inspect.Type, msgspec.inspect.Field)
_SOME_KEY: Final = '[...]'
_END_OF_NAME: Final = re.compile(r'[.\[]|\Z')
_INDEX: Final = re.compile(r'\[(\d+)\]')


def _nobodys(value: Any) -> Any:
    raise TypeError(
        f'{type(value).__qualname__} is not known to msgspec: expected a msgspec.Struct or what '
        'msgspec.to_builtins() takes'
    )


class Msgspec(PayloadLibrary):
    """Converts to everything that msgspec knows: what no library before it wanted."""

    name = 'msgspec'
    extra = 'msgspec'

    def __init__(self) -> None:
        self.foreign_to_plain: Callable[[Any], Any] = _nobodys
        """What makes values of other libraries plain, where they are within msgspec's."""

    def handles(self, annotation: Any) -> bool:
        """Anything: what it cannot convert to, `converter` refuses."""
        return True

    def converter(self, annotation: Any) -> Callable[[Any], Any]:
        """What converts by `msgspec.convert`.

        Raises:
            TypeError: If msgspec does not know this type, or one of those in it.
        """
        try:
            msgspec.json.Decoder(annotation)
            strange = _strange_classes(msgspec.inspect.type_info(annotation))
        except Exception as error:  # a TypeError, or the NameError of what cannot be resolved
            raise refused(annotation, self.name, str(error)) from error
        if strange:
            names = ', '.join(sorted(map(described, strange)))
            raise refused(annotation, self.name, f'it does not know {names}')
        directly = _converting(annotation)
        if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            return directly
        return _boxed(annotation, directly)

    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        """The first thing that is wrong with a value, in msgspec's words: it looks no further."""
        if not isinstance(error, msgspec.ValidationError):
            return [NOT_CONVERTIBLE]
        message, steps = str(error), []
        found = _AT.fullmatch(message)
        if found is not None:
            message = found['message']
            search = _Search(_converting(annotation), str(error), value)
            steps = search.steps_to(found['path'], is_key=found['is_key'] is not None)
        field = _OF_A_FIELD.fullmatch(message)
        return [problem_at([*steps, field['name']] if field else steps, message)]

    def owns(self, value: Any) -> bool:
        """Whether it is a Struct.

        PERF: `isinstance` asks the metaclass, and takes as long as to dump a small Struct.
        """
        return msgspec.Struct in type(value).__mro__

    def to_plain(self, value: Any) -> Any:
        """What msgspec would write as JSON, as Python's own types.

        What is in it of another library goes out as that one has it.

        PERF: with a hook, called or not, a small Struct takes half as long again.

        Raises:
            TypeError: If there is something in it that no library knows.
        """
        try:
            return msgspec.to_builtins(value, str_keys=True)
        except TypeError:
            pass  # there is something in it that msgspec does not know
        hook = partial(self._foreign_within, value)
        return msgspec.to_builtins(value, str_keys=True, enc_hook=hook)

    def one_pass(
        self, envelope: Envelope, types: Mapping[str, PayloadType | None]
    ) -> Callable[[str], Incoming] | None:
        """What reads text straight into typed payloads."""
        return one_pass_reader(envelope, types, self)

    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        """The JSON Schemas that msgspec makes, which are the same in both directions.

        Raises:
            TypeError: If two classes have one name in one module.
        """
        try:
            of, components = msgspec.json.schema_components(annotations, ref_template=ref_template)
        except KeyError as error:  # before 0.23 msgspec knows classes by their full names
            raise TypeError(
                f'msgspec cannot describe {described(error.args[0])}: another class has the same '
                'name in the same module; rename one of them'
            ) from error
        return Schemas(list(of), components)

    def _foreign_within(self, whole: Any, value: Any) -> Any:
        """Make plain what msgspec does not know, unless it was asked for just this."""
        return _nobodys(value) if value is whole else self.foreign_to_plain(value)


LIBRARY: Final = Msgspec()


def _converting(annotation: Any) -> Callable[[Any], Any]:
    return partial(msgspec.convert, type=annotation, strict=True, str_keys=True)


def _boxed(annotation: Any, directly: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same conversion in less time.

    PERF: `convert` reads an annotation anew at each call, but keeps what it has read of a Struct:
    so one is put around it. A call takes from 0.3 (`A | None`) to 0.9 (a dataclass) of the time.
    """
    box: Any = msgspec.defstruct('Box', [('value', annotation)], array_like=True, gc=False)
    msgspec.json.Decoder(box)  # so that it is read now, not at the first message
    convert = msgspec.convert

    def in_a_box(value: Any) -> Any:
        try:
            return convert((value,), box, strict=True, str_keys=True).value
        except msgspec.ValidationError:
            pass  # its path begins at the box
        return directly(value)

    return in_a_box


def _strange_classes(info: msgspec.inspect.Type) -> set[type]:
    """The classes within a type that msgspec would only check for being instances of them."""
    strange = set()
    seen: dict[int, Any] = {}
    ahead: list[Any] = [info]
    while ahead:
        part = ahead.pop()
        if isinstance(part, tuple):
            ahead += part
        elif isinstance(part, msgspec.inspect.CustomType):
            strange |= {part.cls} - {object}
        elif isinstance(part, _PARTS) and id(part) not in seen:
            seen[id(part)] = part
            ahead += [getattr(part, name) for name in part.__struct_fields__]
    return strange


class _Planted:
    """What no type can be converted from."""


class _Search:
    """A search for the place of an error in a value.

    Args:
        convert: What raised it.
        text: Its text.
        value: What could not be converted.
    """

    def __init__(self, convert: Callable[[Any], Any], text: str, value: Any) -> None:
        self._convert = convert
        self._text = text
        self._value = value
        self._conversions = MAX_CONVERSIONS

    def steps_to(self, path: str, *, is_key: bool) -> list[object]:
        """The keys and indexes that a path stands for, as far as they can be found.

        Args:
            path: What the error says, without the `$`.
            is_key: Whether it is not about what is there, but about some key of it.
        """
        steps: list[object] = []
        here = self._value
        ahead = (path + _SOME_KEY if is_key else path).split(_SOME_KEY)
        for number, part in enumerate(ahead, 1):
            further = _steps_in(here, part)
            if further is None:
                return steps
            steps += further
            here = _at(here, further)
            if number < len(ahead):
                key_wanted = is_key and number == len(ahead) - 1
                if not isinstance(here, dict) or not self._affords(len(here)):
                    return steps
                steps.append(self._first_bad_key(steps, here, is_key=key_wanted))
                here = here[steps[-1]]
        return steps

    def _affords(self, entries: int) -> bool:
        self._conversions -= (entries - 1).bit_length()
        return entries > 0 and self._conversions >= 0

    def _first_bad_key(self, steps: list[object], entries: dict[Any, Any], *, is_key: bool) -> Any:
        """The key of the entry that is to blame: entries are converted in order, to the first.

        An entry that would be refused by another text hides the one to blame if that is not
        before it. None is left out, as there may be bounds on how many there have to be.
        """
        pairs = list(entries.items())

        def is_before(number: int) -> bool:
            if is_key:
                planted = (_Planted(), pairs[number][1])
                changed = dict([*pairs[:number], planted, *pairs[number + 1 :]])
            else:
                changed = {**entries, pairs[number][0]: _Planted()}
            return self._fails_alike(_replaced(self._value, steps, changed))

        return pairs[bisect_left(range(1, len(pairs)), True, key=is_before)][0]

    def _fails_alike(self, value: Any) -> bool:
        try:
            self._convert(value)
        except Exception as error:  # noqa: BLE001  # a type's own code may raise anything
            return str(error) == self._text
        return False


def _steps_in(value: Any, path: str) -> list[object] | None:
    """The keys and indexes that a path without `[...]` stands for in a value.

    Of a name with dots it is not known where it ends: the first end is taken from which the rest
    leads somewhere.
    """
    if not path:
        return []
    steps: list[object] = []
    branches = [_branches(value, path, 0)]
    for _ in range(_MAX_STEPS):
        branch = next(branches[-1], None)
        if branch is not None:
            step, inner, end = branch
            steps.append(step)
            if end == len(path):
                return steps
            branches.append(_branches(inner, path, end))
        elif steps:
            branches.pop()
            steps.pop()
        else:
            break
    return None


def _branches(value: Any, path: str, start: int) -> Iterator[tuple[object, Any, int]]:
    """Ways to read the next step of a path: the step, what it leads to, and where the next is."""
    if isinstance(value, dict) and path[start] == '.':
        for found in _END_OF_NAME.finditer(path, start + 1):
            name = path[start + 1 : found.start()]
            if name in value:
                yield name, value[name], found.start()
    elif isinstance(value, (list, tuple)):
        index = _INDEX.match(path, start)
        if index is not None and int(index[1]) < len(value):
            yield int(index[1]), value[int(index[1])], index.end()


def _at(value: Any, steps: Sequence[Any]) -> Any:
    for step in steps:
        value = value[step]
    return value


def _replaced(value: Any, steps: Sequence[Any], new: Any) -> Any:
    """A copy of a value in which something else is in one place, as deep as it has to be."""
    way = [value]
    for step in steps[:-1]:
        way.append(way[-1][step])
    for container, step in zip(reversed(way), reversed(steps), strict=False):
        copy: Any = dict(container) if isinstance(container, dict) else list(container)
        copy[step] = new
        new = copy
    return new
