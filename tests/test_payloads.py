"""Who converts which payloads, and that what is published of them is what is converted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
import datetime as dt
import decimal
import enum
import pathlib
import subprocess
import sys
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union
import uuid

import jsonschema
import msgspec
import orjson
import pydantic
import pydantic.dataclasses
from pydantic_core import core_schema
import pytest
import typing_extensions

from falcon_ws_mw import payloads
from falcon_ws_mw.payloads import base
from falcon_ws_mw.payloads.base import (
    Direction,
    PayloadLibrary,
    PayloadType,
    Problem,
    Schemas,
    problem_at,
)
from falcon_ws_mw.payloads.plain_types import PlainTypes
from falcon_ws_mw.payloads.with_msgspec import Msgspec
from falcon_ws_mw.payloads.with_pydantic import Pydantic


@dataclass
class Item:
    """A thing."""

    name: str
    count: int = 1


class Typed(TypedDict):
    name: str


class Struct(msgspec.Struct):
    name: str
    count: int = 1


class Row(msgspec.Struct, array_like=True):
    name: str


class Cat(msgspec.Struct, tag='cat'):
    lives: int


class Dog(msgspec.Struct, tag='dog'):
    name: str


class Model(pydantic.BaseModel):
    name: str
    count: int = 1


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra='forbid')

    count: int = pydantic.Field(alias='howMany')


class Numbers(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Validated:
    name: str


@dataclass
class Wrapping:
    """Nothing of pydantic's, but for what is in it."""

    model: Model


@dataclass
class Constrained:
    name: Annotated[str, pydantic.Field(max_length=3)]


class Tree(msgspec.Struct):
    inner: list[Tree] = []


class Colour(enum.Enum):
    RED = 'red'


class Pair(NamedTuple):
    left: int
    right: int


class Custom:
    """A class that no library knows."""


@dataclass
class Holding:
    custom: list[Custom]


class HoldingModel(msgspec.Struct):
    model: Model


UserName = NewType('UserName', str)
Anything = typing_extensions.TypeAliasType('Anything', dict[str, Any])
Either = typing_extensions.TypeAliasType('Either', Struct | Model)


def convert(annotation: Any, value: Any) -> Any:
    return payloads.payload_type(annotation).convert(value)


# -- the choice


@pytest.mark.parametrize(
    ('annotation', 'library'),
    [
        *((each, 'plain') for each in (Any, object, None, dict, list, str, int, float, bool)),
        (type(None), 'plain'),
        (typing.Dict, 'plain'),  # noqa: UP006
        (dict[str, Any], 'plain'),
        (dict[Any, Any], 'plain'),
        (Mapping, 'plain'),
        (typing.Mapping, 'plain'),
        (Mapping[str, Any], 'plain'),
        (MutableMapping[str, Any], 'plain'),
        (list[Any], 'plain'),
        (dict | None, 'plain'),
        (Optional[dict[str, Any]], 'plain'),  # noqa: UP045
        (Union[str, int, list[Any]], 'plain'),  # noqa: UP007
        (Anything, 'plain'),
        (UserName, 'plain'),
        (Model, 'pydantic'),
        (Validated, 'pydantic'),
        (Numbers, 'pydantic'),
        (Model | None, 'pydantic'),
        (list[Model], 'pydantic'),
        (dict[str, list[Model | int]], 'pydantic'),
        (Annotated[Model, 'a note'], 'pydantic'),
        (Annotated[int, pydantic.Field(gt=0)], 'pydantic'),
        (pydantic.AnyUrl, 'pydantic'),
        (Wrapping, 'pydantic'),
        (list[Wrapping], 'pydantic'),
        (Constrained, 'pydantic'),
        (Model | Item, 'pydantic'),
        (Item, 'msgspec'),
        (Typed, 'msgspec'),
        (Struct, 'msgspec'),
        (Tree, 'msgspec'),
        (Pair, 'msgspec'),
        (Colour, 'msgspec'),
        (Struct | None, 'msgspec'),
        (Cat | Dog, 'msgspec'),
        (list[Struct], 'msgspec'),
        (list[int], 'msgspec'),
        (Sequence[int], 'msgspec'),
        (dict[str, int], 'msgspec'),
        (dict[int, Any], 'msgspec'),
        (Literal['a', 'b'], 'msgspec'),
        (Annotated[int, msgspec.Meta(gt=0)], 'msgspec'),
        (Annotated[list[int], ['cannot be hashed']], 'msgspec'),
        (dt.datetime, 'msgspec'),
        (uuid.UUID, 'msgspec'),
        (decimal.Decimal, 'msgspec'),
        (str | list[int], 'msgspec'),
        (Struct | Model, 'union'),
        (Either, 'union'),
        (Item | Struct, 'union'),
        (dict | Struct, 'union'),
        (Union[Model, Item, Cat, None], 'union'),  # noqa: UP007
    ],
)
def test_an_annotation_goes_to_one_library(annotation: Any, library: str) -> None:
    chosen = payloads.payload_type(annotation)

    assert chosen.library.name == library
    assert chosen.annotation is annotation


@pytest.mark.parametrize(
    ('annotation', 'admits_null', 'is_mapping'),
    [
        (Any, True, True),
        (object, True, True),
        (None, True, False),
        (dict, False, True),
        (dict | None, True, True),
        (list, False, False),
        (str | None, True, False),
        (int, False, False),
        (Mapping[str, Any], False, True),
        (Anything, False, True),
        (Anything | None, True, True),
        (UserName, False, False),
        (Item, False, True),
        (Typed, False, True),
        (Struct, False, True),
        (Row, False, False),
        (Cat | Dog, False, True),
        (Pair, False, False),
        (Colour, False, False),
        (set[int], False, False),
        (Sequence[int], False, False),
        (dict[str, int], False, True),
        (list[Item] | Item, False, True),
        (Literal['a', 'b'], False, False),
        (Annotated[Item | None, 'a note'], True, True),
        (dt.date, False, False),
        (decimal.Decimal, False, False),
        (Model, False, True),
        (Model | None, True, True),
        (Numbers, False, False),
        (pydantic.RootModel[dict[str, int] | None], True, True),
        (Struct | Model, False, True),
        (Row | Numbers, False, False),
    ],
)
def test_what_an_absent_payload_is_converted_from(
    annotation: Any, admits_null: bool, is_mapping: bool
) -> None:
    chosen = payloads.payload_type(annotation)

    assert (chosen.admits_null, chosen.is_mapping) == (admits_null, is_mapping)
    assert chosen.empty == ({} if is_mapping and not admits_null else None)


def test_a_literal_may_admit_null() -> None:
    """Of this one msgspec 0.19 has no description, so `payload_type` refuses it there."""
    assert base.admits_null(Literal['a', None])  # noqa: PYI061


@pytest.mark.parametrize(
    ('annotation', 'named'),
    [
        (Custom, 'Custom'),
        (list[Custom], 'Custom'),
        (dict[str, tuple[Custom, int]], 'Custom'),
        (Holding, 'Custom'),
        (Custom | None, 'Custom'),
        (Custom | Model, 'Custom'),
        (HoldingModel, 'Model'),
        (list[Model | Struct], 'Struct'),
        (OrderedDict, 'OrderedDict'),
        (pathlib.Path, 'Path'),
        (Callable[[int], int], 'Callable'),
        (list[Item | Struct], 'Struct'),
        (list['Nobody'], 'Nobody'),  # type: ignore[name-defined]  # noqa: F821
        ('Item', 'Item'),
        (7, '7'),
        (Annotated[Custom, pydantic.Field()], 'Custom'),
    ],
)
def test_what_nobody_can_convert_is_refused_at_start_up(annotation: Any, named: str) -> None:
    with pytest.raises(TypeError) as raised:
        payloads.payload_type(annotation)

    text = str(raised.value)
    assert named in text
    assert 'expected dict, list, a dataclass' in text
    assert 'register_payload_library()' in text


def test_a_dataclass_whose_fields_cannot_be_resolved_is_refused() -> None:
    lost = types.new_class('Lost', exec_body=lambda ns: ns.update(__annotations__={'a': 'Nowhere'}))

    with pytest.raises(TypeError, match='Nowhere'):
        payloads.payload_type(dataclass(lost))


def test_a_model_whose_fields_cannot_be_resolved_is_refused() -> None:
    class Lost(pydantic.BaseModel):
        found: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r'pydantic cannot convert a payload to .*Lost'):
        payloads.payload_type(Lost)


# -- conversion


@pytest.mark.parametrize(
    ('annotation', 'value', 'converted'),
    [
        (Any, {'a': 1}, {'a': 1}),
        (object, [1], [1]),
        (None, None, None),
        (dict, {'a': 1}, {'a': 1}),
        (dict, OrderedDict(a=1), OrderedDict(a=1)),
        (float, 1, 1.0),
        (int | float, 1, 1),
        (str | None, None, None),
        (Item, {'name': 'a'}, Item('a')),
        (list[Item], [{'name': 'a', 'count': 2}], [Item('a', 2)]),
        (Typed, {'name': 'a'}, {'name': 'a'}),
        (Struct, {'name': 'a'}, Struct('a')),
        (Struct | None, None, None),
        (Cat | Dog, {'type': 'dog', 'name': 'rex'}, Dog('rex')),
        (Row, ['a'], Row('a')),
        (Pair, [1, 2], Pair(1, 2)),
        (dict[int, int], {'1': 2}, {1: 2}),
        (Colour, 'red', Colour.RED),
        (dt.date, '2024-02-29', dt.date(2024, 2, 29)),
        (Tree, {'inner': [{}]}, Tree([Tree()])),
        (Model, {'name': 'a', 'count': '2'}, Model(name='a', count=2)),
        (Strict, {'howMany': 2}, Strict(howMany=2)),
        (list[Model], [{'name': 'a'}], [Model(name='a')]),
        (Wrapping, {'model': {'name': 'a'}}, Wrapping(Model(name='a'))),
        (Validated, {'name': 'a'}, Validated(name='a')),
        (Numbers, [1], Numbers([1])),
        # of members the first that fits
        (Struct | Strict, {'howMany': 2}, Strict(howMany=2)),
        (Strict | Struct, {'name': 'a'}, Struct('a')),
        (Item | Struct, {'name': 'a'}, Item('a')),
        (Struct | Item, {'name': 'a'}, Struct('a')),
        (dict | Struct, {'name': 'a'}, {'name': 'a'}),
        (Item | Struct | list[int] | None, [1], [1]),
        (Item | Struct | None, None, None),
    ],
)
def test_what_fits_is_converted(annotation: Any, value: Any, converted: Any) -> None:
    found = convert(annotation, value)

    assert found == converted
    assert type(found) is type(converted)


@pytest.mark.parametrize(
    ('annotation', 'value'),
    [
        (int, True),
        (int, 1.0),
        (float, True),
        (str, b'a'),
        (dict, None),
        (int | None, False),
        (Item, {'name': 'a', 'count': '1'}),
        (Struct, {'name': 'a', 'count': True}),
        (Strict, {'howMany': '2'}),
        (Strict, {'howMany': 2, 'more': 1}),
        (Constrained, {'name': 'long'}),
        (Model | Struct, None),
    ],
)
def test_what_does_not_fit_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011
        convert(annotation, value)


class Upper:
    """Somebody's type, made of text in JSON and of nothing but itself in Python."""

    def __init__(self, text: str) -> None:
        self.text = text.upper()

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> core_schema.CoreSchema:
        return core_schema.json_or_python_schema(
            core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
            core_schema.is_instance_schema(cls),
        )


class StrictInLax(pydantic.BaseModel):
    default: Annotated[dt.date, pydantic.Strict()]  # a field's name, not a default


@pytest.mark.parametrize(
    'annotation',
    [
        pydantic.create_model('Days', __config__={'strict': True}, default=(dt.date, ...)),
        StrictInLax,
        pydantic.create_model('Late', __config__={'strict': True, 'defer_build': True},
                              default=(dt.date, ...)),
    ],
)  # fmt: skip
def test_to_a_strict_model_text_is_a_date_as_it_is_in_json(annotation: Any) -> None:
    assert convert(annotation, {'default': '2024-02-29'}).default == dt.date(2024, 2, 29)
    assert convert(list[annotation], [{'default': '2024-02-29'}])


def test_what_is_made_of_json_only_is_converted() -> None:
    assert convert(pydantic.create_model('Loud', said=(Upper, ...)), {'said': 'a'}).said.text == 'A'


def test_what_json_has_not_is_refused_by_a_strict_model_as_it_was_found() -> None:
    with pytest.raises(pydantic.ValidationError, match='howMany'):
        convert(Strict, {'howMany': {1}})


@pytest.mark.parametrize(
    ('annotation', 'default'), [(int, 7), (Any, {'strict': True}), (Any, None)]
)
def test_a_validator_of_a_lax_model_runs_once(annotation: Any, default: Any) -> None:
    seen = []

    class Seeing(pydantic.BaseModel):
        value: annotation = default
        strict: bool = True
        wrong: int

        @pydantic.field_validator('value')
        @classmethod
        def see(cls, value: Any) -> Any:
            seen.append(value)
            return value

    with pytest.raises(pydantic.ValidationError):
        convert(Seeing, {'value': 1, 'wrong': 'x'})
    assert seen == [1]


# -- libraries of an app's own


class Money:
    def __init__(self, amount: str, currency: str) -> None:
        self.amount, self.currency = amount, currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class MoneyLibrary(PayloadLibrary):
    """Converts '12.50 EUR'."""

    name = 'money'
    owned: type = Money

    def handles(self, annotation: Any) -> bool:
        return annotation is self.owned

    def converter(self, annotation: Any) -> Callable[[Any], Any]:
        return lambda value: Money(*value.split(' '))

    def problems(self, error: Exception, annotation: Any, value: Any) -> list[Problem]:
        return [problem_at((), 'Expected an amount and a currency')]

    def owns(self, value: Any) -> bool:
        return isinstance(value, self.owned)

    def to_plain(self, value: Any) -> Any:
        return f'{value.amount} {value.currency}'

    def schemas(
        self, annotations: Sequence[Any], ref_template: str, direction: Direction
    ) -> Schemas:
        reference = {'$ref': ref_template.format(name='Item')}
        return Schemas([reference for _ in annotations], {'Item': {'type': 'string'}})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> MoneyLibrary:
    monkeypatch.setattr(payloads, '_registered', [])
    library = MoneyLibrary()
    payloads.register_payload_library(library)
    return library


def test_a_registered_library_converts(registered: MoneyLibrary) -> None:
    chosen = payloads.payload_type(Money)

    assert chosen.library is registered
    assert chosen.convert('12.50 EUR') == Money('12.50', 'EUR')
    with pytest.raises(AttributeError) as raised:
        chosen.convert(7)
    assert chosen.problems(raised.value, 7) == [Problem('', 'Expected an amount and a currency')]


@pytest.mark.parametrize(
    'annotation', [Money | Struct | Model | None, Struct | Model | Money | None]
)
def test_a_registered_library_shares_a_union(registered: MoneyLibrary, annotation: Any) -> None:
    assert convert(annotation, '1 EUR') == Money('1', 'EUR')
    assert convert(annotation, {'name': 'a'}) == Struct('a')
    assert convert(annotation, None) is None


def test_a_registered_library_is_asked_first(registered: MoneyLibrary) -> None:
    class Decimals(MoneyLibrary):
        owned = decimal.Decimal

    assert payloads.payload_type(decimal.Decimal).library.name == 'msgspec'
    payloads.register_payload_library(latest := Decimals())
    assert payloads.payload_type(decimal.Decimal).library is latest
    assert payloads.payload_type(Money).library is registered
    # where msgspec would take the whole union
    chosen = payloads.payload_type(decimal.Decimal | None)
    assert chosen.convert('1 EUR') == Money('1', 'EUR')


def test_the_latest_library_goes_first_and_once(registered: MoneyLibrary) -> None:
    payloads.register_payload_library(latest := MoneyLibrary())
    assert payloads.payload_type(Money).library is latest

    payloads.register_payload_library(registered)
    assert payloads.payload_type(Money).library is registered
    assert payloads._registered == [registered, latest]


def test_what_a_registered_library_owns_can_be_sent(registered: MoneyLibrary) -> None:
    payload = {'price': Money('1', 'EUR')}

    assert payloads.is_typed(payload['price'])
    assert payloads.plain(payload) == {'price': '1 EUR'}
    assert orjson.dumps(payload, default=payloads.to_json_default) == b'{"price":"1 EUR"}'


@pytest.mark.parametrize('library', [MoneyLibrary, Money('1', 'EUR'), None, 'msgspec'])
def test_only_an_instance_of_a_library_is_one(library: Any) -> None:
    with pytest.raises(TypeError, match='expected an instance of a subclass of PayloadLibrary'):
        payloads.register_payload_library(library)


# -- what is sent


@dataclass
class Nested:
    struct: Struct
    models: list[Model]
    at: dt.date
    pair: tuple[Item, int]
    _private: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Slotted:
    a: int


OWNED = [
    (Struct('a', 2), {'name': 'a', 'count': 2}),
    (Cat(9), {'type': 'cat', 'lives': 9}),
    (Row('a'), ['a']),
    (Model(name='a', count=2), {'name': 'a', 'count': 2}),
    (Strict(howMany=2), {'howMany': 2}),
    (Numbers([1]), [1]),
]
"""Values that orjson does not know, and what stands for them."""

DATACLASSES = [
    (Item('a'), {'name': 'a', 'count': 1}),
    (Slotted(1), {'a': 1}),
    (Validated(name='a'), {'name': 'a'}),
    (Wrapping(Model(name='a')), {'model': {'name': 'a', 'count': 1}}),
]


@pytest.mark.parametrize(('value', 'expected'), OWNED)
def test_what_is_owned_becomes_plain_for_orjson(value: Any, expected: Any) -> None:
    assert payloads.to_json_default(value) == expected


@pytest.mark.parametrize(('value', 'expected'), [*OWNED, *DATACLASSES])
def test_orjson_and_others_are_given_the_same(value: Any, expected: Any) -> None:
    message = {'payload': [value, (value,)], 'id': 1}
    as_plain = {'payload': [expected, [expected]], 'id': 1}

    assert payloads.is_typed(value)
    assert orjson.loads(orjson.dumps(message, default=payloads.to_json_default)) == as_plain
    assert orjson.loads(orjson.dumps(payloads.plain(message))) == as_plain


@pydantic.dataclasses.dataclass
class Renamed:
    how_many: int = pydantic.Field(alias='howMany')
    day: dt.date = dt.date(2024, 2, 29)


@dataclass
class RenamedAndMore(Renamed):
    more: int = 1


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (Renamed(howMany=2), {'howMany': 2, 'day': '2024-02-29'}),
        (RenamedAndMore(2), {'howMany': 2, 'day': '2024-02-29', 'more': 1}),
    ],
)
def test_a_dataclass_of_pydantics_goes_out_by_the_names_in_its_schema(
    value: Any, expected: Any
) -> None:
    library = Pydantic()

    assert library.owns(value)
    assert not library.owns(type(value))
    assert library.to_plain(value) == expected
    described = library.schemas([type(value)], '{name}', 'out').components[type(value).__name__]
    assert described['properties'].keys() == expected.keys()


@pytest.mark.parametrize('value', [Item('a'), Struct('a'), Custom(), Model, Renamed])
def test_pydantic_owns_nothing_else(value: Any) -> None:
    assert not Pydantic().owns(value)


class Holds(msgspec.Struct):
    held: Any


@pytest.fixture
def with_others() -> Msgspec:
    """Msgspec as the package sets it up."""
    library = Msgspec()
    library.foreign_to_plain = payloads.to_json_default
    return library


@pytest.mark.parametrize(('value', 'expected'), OWNED)
def test_what_is_in_a_struct_goes_out_by_its_own_library(
    with_others: Msgspec, value: Any, expected: Any
) -> None:
    held = Holds([value, Holds({'a': value})])

    assert with_others.to_plain(held) == {'held': [expected, {'held': {'a': expected}}]}


def test_what_is_in_a_struct_may_be_a_registered_librarys(
    with_others: Msgspec, registered: MoneyLibrary
) -> None:
    assert with_others.to_plain(Holds(Money('1', 'EUR'))) == {'held': '1 EUR'}


class OddDecimal(decimal.Decimal):
    """What `to_json_default` takes for msgspec's, and msgspec does not know."""


@pytest.mark.parametrize('value', [Custom(), Model, OddDecimal(1)])
def test_what_nobody_owns_in_a_struct_is_no_json(with_others: Msgspec, value: Any) -> None:
    with pytest.raises(TypeError, match=rf'{type(value).__qualname__} is not '):
        with_others.to_plain(Holds(value))
    with pytest.raises(TypeError, match=rf'{type(value).__qualname__} is not known to msgspec'):
        Msgspec().to_plain(Holds(value))
    with pytest.raises(TypeError, match=r'is not '):
        payloads.to_json_default(value)


def test_plain_looks_into_what_it_makes_plain() -> None:
    day = dt.date(2024, 2, 29)
    nested = Nested(Struct('a'), [Model(name='b')], day, (Item('c'), 1), 7, {'raw': b'x'})

    assert payloads.plain(nested) == {
        'struct': {'name': 'a', 'count': 1},
        'models': [{'name': 'b', 'count': 1}],
        'at': day,
        'pair': ({'name': 'c', 'count': 1}, 1),
        'extra': {'raw': b'x'},
    }


@pytest.mark.parametrize(
    'value',
    [
        {'a': [1, 2.5, 'x', None, True, {'b': (1, 2)}]},
        {1: 'not text'},
        [OrderedDict(a=Struct('a'))],
        (dt.datetime(2024, 2, 29, tzinfo=dt.UTC), uuid.UUID(int=1), decimal.Decimal(1), b'x'),
        {'set': {1}, 'object': Custom()},
        Colour.RED,
        Item,
        Struct,
        Model,
    ],
)
def test_what_is_none_of_ours_is_left_alone(value: Any) -> None:
    assert payloads.plain(value) is value
    assert not payloads.is_typed(value)


@pytest.mark.parametrize('value', [Custom(), Struct, Model, Item])
def test_what_nobody_owns_is_no_json(value: Any) -> None:
    with pytest.raises(TypeError, match=f'{type(value).__qualname__} is not JSON serializable'):
        payloads.to_json_default(value)
    with pytest.raises(TypeError, match='not JSON serializable'):
        orjson.dumps({'a': value}, default=payloads.to_json_default)


# -- schemas


def json_schema(*annotations: Any, direction: Direction = 'in') -> dict[str, Any]:
    """One schema for a tuple of these annotations, checked to be one."""
    made = payloads.schemas(
        [payloads.payload_type(each) for each in annotations], '#/$defs/{name}', direction
    )
    schema = {'prefixItems': made.of, '$defs': dict(made.components)}
    jsonschema.Draft202012Validator.check_schema(schema)
    assert orjson.loads(orjson.dumps(schema)) == schema
    return schema


def admits(schema: dict[str, Any], *values: Any) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(list(values))


SAMPLES: list[Any] = [
    None,
    True,
    7,
    -1,
    1.5,
    'a',
    'red',
    [],
    [1, 2],
    ['a'],
    [{'name': 'a'}],
    {},
    {'name': 'a'},
    {'name': 7},
    {'name': 'a', 'count': None},
    {'howMany': 1},
    {'howMany': 1, 'name': 'a'},
    {'type': 'cat', 'lives': 9},
    {'type': 'dog', 'name': 'rex'},
    {'model': {'name': 'a'}},
    {'model': {}},
    {'inner': [{'inner': []}]},
    {'inner': [{'inner': 7}]},
    {'a': 1},
]

DESCRIBED = [
    *(Any, object, None, dict, list, str, int, float, bool, dict | None, str | int | None),
    *(Item, Typed, Struct, Row, Cat | Dog, Tree, Pair, Colour, list[Item], dict[str, int]),
    *(Struct | None, Literal['a', 'b'], Annotated[int, msgspec.Meta(gt=0)]),
    *(Model, Strict, Numbers, Validated, Wrapping, list[Model], Model | None),
    *(Struct | Strict, dict | Struct, Item | Struct | list[Model] | None),
]


@pytest.mark.parametrize('annotation', DESCRIBED)
def test_a_schema_admits_what_is_converted_and_nothing_else(annotation: Any) -> None:
    schema = json_schema(annotation)
    payload_type = payloads.payload_type(annotation)

    for value in SAMPLES:
        try:
            payload_type.convert(value)
        except Exception:
            assert not admits(schema, value), value
        else:
            assert admits(schema, value), value


def test_a_payload_that_may_be_anything_has_the_empty_schema() -> None:
    assert payloads.schemas([None, None], '{name}', 'in') == Schemas([{}, {}], {})


def test_schemas_come_in_the_order_that_was_asked_for() -> None:
    types_ = [payloads.payload_type(each) for each in (Model, str, Struct | Strict, Item, int)]

    of, components = payloads.schemas([types_[0], None, *types_[1:]], '#/c/{name}', 'in')

    assert of == [
        {'$ref': '#/c/Model'},
        {},
        {'type': 'string'},
        {'anyOf': [{'$ref': '#/c/Struct'}, {'$ref': '#/c/Strict'}]},
        {'$ref': '#/c/Item'},
        {'type': 'integer'},
    ]
    assert sorted(components) == ['Item', 'Model', 'Strict', 'Struct']


def test_the_way_out_is_described_as_it_is_sent() -> None:
    class Computed(pydantic.BaseModel):
        given: int = 1

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> int:
            return 2 * self.given

    incoming = json_schema(Computed, direction='in')['$defs']['Computed']
    outgoing = json_schema(Computed, direction='out')['$defs']['Computed']

    assert sorted(incoming['properties']) == ['given']
    assert sorted(outgoing['properties']) == ['given', 'twice']


MSGSPEC_TELLS_TWINS_APART = tuple(map(int, msgspec.__version__.split('.')[:2])) >= (0, 23)
"""Structs of one name in one module, where they are described. Before it refused them."""


def struct(module: str, **fields: Any) -> Any:
    return msgspec.defstruct('Item', fields.items(), module=module)


def model(module: str, **fields: Any) -> Any:
    definitions: dict[str, Any] = {name: (of, ...) for name, of in fields.items()}
    return pydantic.create_model('Item', __module__=module, **definitions)


@pytest.mark.parametrize(
    ('left', 'right'),
    [
        (struct('one', left=int), struct('other', right=str)),
        (model('one', left=int), model('other', right=str)),
        (struct('one', left=int), model('other', right=str)),
    ],
    ids=['msgspec', 'pydantic', 'both'],
)
@pytest.mark.parametrize('turn', [1, -1])
def test_two_classes_of_one_name_are_kept_apart(left: Any, right: Any, turn: int) -> None:
    schema = json_schema(*[left, list[right]][::turn])
    again = json_schema(*[left, list[right]][::-turn])

    assert len(schema['$defs']) == 2
    assert schema['$defs'] == again['$defs']
    assert admits(schema, *[{'left': 1}, [{'right': 'a'}]][::turn])
    assert not admits(schema, *[{'left': 'a'}, [{'right': 'a'}]][::turn])
    assert not admits(schema, *[{'left': 1}, [{'right': 1}]][::turn])


class Kitten(pydantic.BaseModel):
    kind: Literal['kitten']


class Puppy(pydantic.BaseModel):
    kind: Literal['puppy']
    friends: list[Kitten]


def test_references_follow_a_component_that_is_renamed(registered: MoneyLibrary) -> None:
    pet: Any = Annotated[Kitten | Puppy, pydantic.Field(discriminator='kind')]
    other = msgspec.defstruct('Kitten', [('a', int)])

    schema = json_schema(pet, other, Money, Item)

    assert sorted(schema['$defs']) == [
        'Puppy',
        'money.Item',
        'msgspec.Item',
        'msgspec.Kitten',
        'pydantic.Kitten',
    ]
    rest = [{'a': 1}, 'x', {'name': 'a'}]
    assert admits(schema, {'kind': 'puppy', 'friends': [{'kind': 'kitten'}]}, *rest)
    assert not admits(schema, {'kind': 'puppy', 'friends': [{'a': 1}]}, *rest)
    assert schema['prefixItems'][0]['discriminator']['mapping'] == {
        'kitten': '#/$defs/pydantic.Kitten',
        'puppy': '#/$defs/Puppy',
    }


def test_two_structs_of_one_name_are_described_apart_or_not_at_all() -> None:
    """Since 0.23 msgspec tells them apart."""
    twins = [struct('one', left=int), struct('one', right=str)]

    if not MSGSPEC_TELLS_TWINS_APART:
        with pytest.raises(TypeError, match=r'Item.*rename one'):
            json_schema(*twins)
        return
    schema = json_schema(*twins)

    assert admits(schema, {'left': 1}, {'right': 'x'})
    assert not admits(schema, {'left': 1}, {'left': 1})


def test_two_structs_that_msgspec_cannot_tell_apart_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def as_before_0_23(types: Any, **options: Any) -> Any:
        raise KeyError(types[0])

    monkeypatch.setattr('msgspec.json.schema_components', as_before_0_23)

    with pytest.raises(TypeError, match=r'Item.*rename one'):
        json_schema(struct('one', left=int))


# -- without extras, and at little cost

WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, *rest):
        if name.partition('.')[0] in {blocked}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
from dataclasses import dataclass
from falcon_ws_mw import payloads

@dataclass
class Item:
    name: str

def refusal(annotation):
    try:
        return payloads.payload_type(annotation).library.name
    except TypeError as error:
        return str(error)

{body}
assert not {{'msgspec', 'pydantic'}} & ({{*sys.modules}} - {loaded})
"""


@pytest.mark.parametrize(
    ('blocked', 'loaded', 'body'),
    [
        (
            {'msgspec', 'pydantic'},
            set(),
            """
assert payloads.payload_type(dict[str, object] | None).convert({'a': 1}) == {'a': 1}
for annotation in (Item, Item | None, list[int], dict | Item):
    assert "needs msgspec: pip install 'falcon-ws-mw[msgspec]'" in refusal(annotation)
assert payloads.plain([Item('a')]) == [{'name': 'a'}]
assert payloads.schemas([payloads.payload_type(dict)], '', 'in').of == [{'type': 'object'}]
""",
        ),
        (
            {'msgspec'},
            {'pydantic'},
            """
from pydantic import BaseModel
class Model(BaseModel):
    name: str
assert payloads.payload_type(Model | None).convert({'name': 'a'}) == Model(name='a')
assert refusal(Model | Item) == 'pydantic'
assert 'needs msgspec' in refusal(Item)
assert payloads.to_json_default(Model(name='a')) == {'name': 'a'}
""",
        ),
        (
            {'pydantic'},
            {'msgspec'},
            """
assert payloads.payload_type(Item).convert({'name': 'a'}) == Item('a')
""",
        ),
        (
            set(),
            set(),
            """
payloads.payload_type(dict)
assert payloads.plain({'a': Item('a'), 'b': {1}})['a'] == {'name': 'a'}
assert not payloads.is_typed(object())
try:
    payloads.to_json_default(object())
except TypeError:
    pass
""",
        ),
    ],
    ids=['neither', 'no msgspec', 'no pydantic', 'unused'],
)
def test_what_is_not_installed_is_not_needed_and_what_is_not_used_not_imported(
    blocked: set[str], loaded: set[str], body: str
) -> None:
    code = WITHOUT.format(blocked=blocked or '()', loaded=loaded or 'set()', body=body)

    subprocess.run([sys.executable, '-W', 'error', '-c', code], check=True, timeout=50)


def test_nothing_stands_between_the_caller_and_the_library() -> None:
    """What is called for each message is the library's own function, where that is fastest."""
    of_struct: Any = payloads.payload_type(Struct).convert
    of_model: Any = payloads.payload_type(Model).convert
    assert of_struct.func is msgspec.convert
    assert isinstance(of_model, types.BuiltinMethodType)
    assert of_model.__name__ == 'validate_python'


def test_a_library_is_one_object() -> None:
    """So that what one library reads in one pass can be told."""
    assert {payloads.payload_type(each).library for each in (Item, Struct, list[int])} == {
        payloads.payload_type(Row).library
    }
    assert isinstance(payloads.payload_type(Item).library, Msgspec)
    assert isinstance(payloads.payload_type(dict).library, PlainTypes)
    assert PayloadType.__slots__
