"""What is said of payloads that do not fit: the same path whichever library has converted them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, make_dataclass
import datetime as dt
import json
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from annotated_types import MaxLen
from hypothesis import given, settings
from hypothesis import strategies as st
import msgspec
import pydantic
import pytest

from falcon_ws_mw import payloads
from falcon_ws_mw.payloads import base, with_msgspec, with_pydantic
from falcon_ws_mw.payloads.base import NOT_CONVERTIBLE, Problem

anything = settings(deadline=None, database=None)


def problems_of(annotation: Any, value: Any) -> list[Problem]:
    """What is wrong with a value; nothing if it converts."""
    payload_type = payloads.payload_type(annotation)
    before = deepcopy(value)
    try:
        payload_type.convert(value)
    except Exception as error:
        found = payload_type.problems(error, value)
        assert found
        assert value == before
        return found
    return []


def paths_of(annotation: Any, value: Any) -> list[str]:
    """Where something is wrong, each place once."""
    return list(dict.fromkeys(problem.path for problem in problems_of(annotation, value)))


# -- one order in five styles


def made_dataclass(name: str, fields: dict[str, Any]) -> Any:
    return make_dataclass(name, fields.items())


def made_typed_dict(name: str, fields: dict[str, Any]) -> Any:
    return TypedDict(name, fields)  # type: ignore[operator]


def made_struct(name: str, fields: dict[str, Any]) -> Any:
    return msgspec.defstruct(name, fields.items())


def made_model(name: str, fields: dict[str, Any]) -> Any:
    definitions: dict[str, Any] = {key: (of, ...) for key, of in fields.items()}
    return pydantic.create_model(name, **definitions)


def in_style(make_part: Callable[..., Any], make_order: Callable[..., Any]) -> Any:
    """The class of an order in some style, and of its parts in the same or another."""
    part: Any = make_part('Part', {'sku': str, 'amount': int})
    return make_order(
        'Order',
        {
            'name': str,
            'price': float,
            'paid': bool,
            'kind': Literal['buy', 'sell'],
            'first': part,
            'parts': list[part],
            'by_shelf': dict[str, part],
            'scores': dict[str, dict[str, int]],
            'numbered': dict[int, list[int]],
            'pair': tuple[int, str],
            'note': str | None,
            'matrix': list[list[int]],
        },
    )


STYLES = {
    'dataclass': in_style(made_dataclass, made_dataclass),
    'TypedDict': in_style(made_typed_dict, made_typed_dict),
    'Struct': in_style(made_struct, made_struct),
    'Struct of TypedDicts': in_style(made_typed_dict, made_struct),
    'model': in_style(made_model, made_model),
    'dataclass of models': in_style(made_model, made_dataclass),  # so pydantic's business
}

each_style = pytest.mark.parametrize('style', STYLES.values(), ids=STYLES)


def part(sku: str) -> dict[str, Any]:
    return {'sku': sku, 'amount': 2}


def order() -> dict[str, Any]:
    """A payload that fits."""
    return {
        'name': 'ada',
        'price': 1.5,
        'paid': True,
        'kind': 'buy',
        'first': part('a'),
        'parts': [part('b'), part('c')],
        'by_shelf': {'left/top': part('d'), 'a.b[0]~': part('e'), '': part('f')},
        'scores': {'x': {'y': 1, 'z': 2}, '[...]': {'.': 3}},
        'numbered': {'1': [1, 2], '2': []},
        'pair': [1, 'one'],
        'note': None,
        'matrix': [[1], [2, 3]],
    }


@each_style
def test_what_fits_has_no_problems(style: Any) -> None:
    assert problems_of(style, order()) == []


REMOVED = object()

WRONG: list[tuple[str, Any]] = [
    ('', []),
    ('', 'order'),
    ('', 7),
    ('', None),
    ('/name', 7),
    ('/name', None),
    ('/name', ['ada']),
    ('/name', REMOVED),
    ('/price', 'much'),
    ('/price', None),
    ('/price', REMOVED),
    ('/paid', 'perhaps'),
    ('/paid', 7),
    ('/paid', {}),
    ('/kind', 'lend'),
    ('/kind', 1),
    ('/kind', None),
    ('/kind', REMOVED),
    ('/first', 'a'),
    ('/first', []),
    ('/first', None),
    ('/first', REMOVED),
    ('/first/sku', 1),
    ('/first/sku', REMOVED),
    ('/first/amount', 'many'),
    ('/first/amount', None),
    ('/parts', {}),
    ('/parts', 'b'),
    ('/parts/0', 'b'),
    ('/parts/1', None),
    ('/parts/1/sku', 3),
    ('/parts/1/sku', REMOVED),
    ('/parts/0/amount', 1.5),
    ('/by_shelf', []),
    ('/by_shelf/left~1top', None),
    ('/by_shelf/left~1top/sku', 5),
    ('/by_shelf/left~1top/sku', REMOVED),
    ('/by_shelf/a.b[0]~0/sku', 5),
    ('/by_shelf/a.b[0]~0/amount', 'many'),
    ('/by_shelf//sku', None),
    ('/by_shelf/', 'f'),
    ('/scores/x', 1),
    ('/scores/x/z', 'two'),
    ('/scores/x/z', None),
    ('/scores/[...]/.', []),
    ('/scores/new', 'y'),
    ('/numbered', None),
    ('/numbered/1/1', 'two'),
    ('/numbered/2', 2),
    ('/numbered/one', []),
    ('/pair/0', 'one'),
    ('/pair/1', 1),
    ('/note', 7),
    ('/note', {}),
    ('/matrix', 1),
    ('/matrix/1', 2),
    ('/matrix/1/1', 'three'),
    ('/matrix/0/0', None),
]
"""What is put where, or taken from there. Wrong for lax pydantic as it is for strict msgspec."""


def with_change(pointer: str, new: Any) -> Any:
    """The payload that fits, with one thing changed."""
    if not pointer:
        return new
    whole: Any = order()
    here = whole
    *steps, last = [step.replace('~1', '/').replace('~0', '~') for step in pointer[1:].split('/')]
    for step in steps:
        here = here[int(step)] if isinstance(here, list) else here[step]
    if new is REMOVED:
        del here[last]
    elif isinstance(here, list):
        here[int(last)] = new
    else:
        here[last] = new
    return whole


@each_style
@pytest.mark.parametrize(('pointer', 'new'), WRONG, ids=lambda each: str(each)[:20])
def test_all_libraries_say_the_same_place(style: Any, pointer: str, new: Any) -> None:
    assert paths_of(style, with_change(pointer, new)) == [pointer]


# -- names that no identifier can be

Odd = TypedDict('Odd', {'a.b': int, 'c[0]': int, 'd/e~f': int, 'g.h': 'Odd'}, total=False)


class OddStruct(
    msgspec.Struct,
    rename={'ab': 'a.b', 'c0': 'c[0]', 'def_': 'd/e~f', 'gh': 'g.h'},
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    ab: int = 0
    c0: int = 0
    def_: int = 0
    gh: OddStruct | None = None


class OddModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra='forbid')

    ab: int = pydantic.Field(0, alias='a.b')
    c0: int = pydantic.Field(0, alias='c[0]')
    def_: int = pydantic.Field(0, alias='d/e~f')
    gh: OddModel | None = pydantic.Field(None, alias='g.h')


@pytest.mark.parametrize('style', [Odd, OddStruct, OddModel])
@pytest.mark.parametrize(
    ('value', 'path'),
    [
        ({'a.b': 'x'}, '/a.b'),
        ({'c[0]': 'x'}, '/c[0]'),
        ({'d/e~f': 'x'}, '/d~1e~0f'),
        ({'g.h': {'a.b': 'x'}}, '/g.h/a.b'),
        ({'g.h': {'g.h': {'c[0]': 'x'}}}, '/g.h/g.h/c[0]'),
        ({'g.h': {'g.h': 'x'}}, '/g.h/g.h'),
    ],
)
def test_odd_names_are_walked_not_parsed(style: Any, value: Any, path: str) -> None:
    assert paths_of(style, value) == [path]


@pytest.mark.parametrize(
    ('value', 'path'),
    [
        ({'more': 1}, '/more'),
        ({'mo/re': 1}, '/mo~1re'),
        ({'a`b - at `$.a.b`': 1}, '/a`b - at `$.a.b`'),
        ({'g.h': {'more': 1}}, '/g.h/more'),
        ({'g.h': {'g.h': {'': 1}}}, '/g.h/g.h/'),
    ],
)
def test_an_unknown_field_is_named_where_it_is(value: Any, path: str) -> None:
    assert paths_of(OddModel, value) == [path]
    if 'at' not in path:  # such a name cannot be told from the rest of msgspec's text
        assert paths_of(OddStruct, value) == [path]
    assert len(problems_of(OddStruct, value)) == 1


def test_a_name_with_dots_is_not_taken_for_a_way() -> None:
    """A first guess that leads nowhere is taken back."""
    assert paths_of(Odd, {'g': {'x': 1}, 'g.h': {'a': 1, 'a.b': 'x'}}) == ['/g.h/a.b']


# -- unions


class Cat(msgspec.Struct, tag_field='kind', tag='cat'):
    lives: int


class Dog(msgspec.Struct, tag_field='kind', tag='dog'):
    tricks: dict[str, int]


class CatModel(pydantic.BaseModel):
    kind: Literal['cat']
    lives: int


class DogModel(pydantic.BaseModel):
    kind: Literal['dog']
    tricks: dict[str, int]


Pet = Annotated[CatModel | DogModel, pydantic.Field(discriminator='kind')]


@pytest.mark.parametrize('style', [dict[str, Cat | Dog], dict[str, Pet]])
@pytest.mark.parametrize(
    ('pet', 'path'),
    [
        ({'kind': 'cow', 'lives': 9}, '/a/kind'),
        ({'lives': 9}, '/a/kind'),
        ({'kind': 'cat', 'lives': 'nine'}, '/a/lives'),
        ({'kind': 'cat'}, '/a/lives'),
        ({'kind': 'dog', 'tricks': {'sit': 1, 'cat': 'none'}}, '/a/tricks/cat'),
        ({'kind': 'dog', 'tricks': []}, '/a/tricks'),
        ('cat', '/a'),
    ],
)
def test_tags_are_no_part_of_the_path(style: Any, pet: Any, path: str) -> None:
    assert paths_of(style, {'a': pet}) == [path]


class Holder(pydantic.BaseModel):
    held: CatModel | int | list[int]


@pytest.mark.parametrize(
    ('held', 'paths'),
    [
        ('x', ['/held']),
        ({'kind': 'cat'}, ['/held/lives', '/held']),
        ([1, 'x'], ['/held', '/held/1']),
    ],
)
def test_members_of_unions_are_no_part_of_the_path(held: Any, paths: list[str]) -> None:
    assert paths_of(Holder, {'held': held}) == paths


@dataclass
class Circle:
    radius: int


@dataclass
class Square:
    side: int


class Chain(msgspec.Struct):
    next: Chain | None = None


def test_where_no_member_of_a_mixed_union_fits_all_say_why() -> None:
    assert problems_of(Chain | CatModel, {'next': 'x', 'kind': 'cat'}) == [
        Problem('/next', 'Chain: Expected `object | null`, got `str`'),
        Problem('/lives', 'CatModel: Field required'),
    ]
    assert problems_of(Circle | Square | None, {}) == [
        Problem('/radius', 'Circle: Object missing required field `radius`'),
        Problem('/side', 'Square: Object missing required field `side`'),
        Problem('', 'NoneType: Expected `null`, got `object`'),
    ]


# -- wording


class Point(NamedTuple):
    x: int
    y: int


class Checked(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError('low is above high')


@pytest.mark.parametrize(
    ('annotation', 'value', 'problem'),
    [
        (dict, [], ('', 'Expected `object`, got `array`')),
        (list, {}, ('', 'Expected `array`, got `object`')),
        (int, True, ('', 'Expected `int`, got `bool`')),
        (bool, 1, ('', 'Expected `bool`, got `int`')),
        (float, '1', ('', 'Expected `float`, got `str`')),
        (str, None, ('', 'Expected `str`, got `null`')),
        (None, 0, ('', 'Expected `null`, got `int`')),
        (dict[str, Any] | None, 'x', ('', 'Expected `object | null`, got `str`')),
        (list[int], [1, '2'], ('/1', 'Expected `int`, got `str`')),
        (set[int], [1, '2'], ('/1', 'Expected `int`, got `str`')),
        (tuple[int, int], [1], ('', 'Expected `array` of length 2, got 1')),
        (Point, [1, 'x'], ('/1', 'Expected `int`, got `str`')),
        (Literal['a'], 'b', ('', "Invalid enum value 'b'")),
        (
            dict[Annotated[str, msgspec.Meta(max_length=2)], int],
            {'a': 1, 'abc': 2},
            ('/abc', 'Expected `str` of length <= 2'),
        ),
        (
            Annotated[dict[str, int], msgspec.Meta(min_length=3, max_length=3)],
            {'a': 1, 'b': 'x', 'c': 'y'},
            ('/b', 'Expected `int`, got `str`'),
        ),
        (
            Annotated[dict[int, Any], msgspec.Meta(min_length=3, max_length=3)],
            {'1': None, '2': None, 'c': None},
            ('/c', 'Expected `int`, got `str`'),
        ),
        (dict[str, Checked], {'a': {'low': 2, 'high': 1}}, ('/a', 'low is above high')),
        (STYLES['Struct'], {}, ('/name', 'Object missing required field `name`')),
        (CatModel, {'kind': 'cat'}, ('/lives', 'Field required')),
        (Annotated[str, MaxLen(2)], 'abc', ('', 'String should have at most 2 characters')),
    ],
)
def test_what_is_said(annotation: Any, value: Any, problem: tuple[str, str]) -> None:
    assert problems_of(annotation, value) == [problem]


def test_pydantic_says_all_that_is_wrong() -> None:
    assert paths_of(STYLES['model'], {'parts': [{}, 1]})[:6] == [
        '/name',
        '/price',
        '/paid',
        '/kind',
        '/first',
        '/parts/0/sku',
    ]


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    day: dt.date
    count: int


def test_of_a_strict_model_is_said_what_is_wrong_as_json() -> None:
    """By Python's rules the text is no date either."""
    assert problems_of(Strict, {'day': '2025-01-01', 'count': 'x'}) == [
        Problem('/count', 'Input should be a valid integer')
    ]
    assert paths_of(Strict, {'day': 'never', 'count': 1}) == ['/day']


# -- bounds

LONG = 'x' * 60_000


@pytest.mark.parametrize(
    ('annotation', 'value', 'path'),
    [
        (dict[str, int], {LONG: LONG}, ''),
        (dict[str, dict[str, int]], {'a': {LONG: LONG}}, '/a'),
        (OddStruct, {LONG: 1}, ''),
        (OddModel, {LONG: 1}, ''),
        (dict[str, OddModel], {'a': {LONG: 1}}, '/a'),
        (Literal['a'], LONG, ''),
        (dict[str, Cat | Dog], {'a': {'kind': LONG}}, '/a/kind'),
        (dict[str, Pet], {'a': {'kind': LONG}}, '/a/kind'),
        (Chain | CatModel, LONG, ''),
        (dict[str, int], {'\ud800': 'x'}, ''),
        (Literal['a'], '\ud800', ''),
    ],
    ids=range(11),
)
def test_no_client_gets_back_much_of_what_it_sent(annotation: Any, value: Any, path: str) -> None:
    found = problems_of(annotation, value)

    assert {problem.path for problem in found} == {path}
    assert all(len(problem.message) <= base.MAX_MESSAGE_CHARACTERS for problem in found)
    json.dumps(found, ensure_ascii=False).encode()


class Leaf(pydantic.BaseModel):
    leaf: int


def test_not_all_of_many_problems_are_told() -> None:
    found = problems_of(list[Leaf], [{}] * 1_000)

    assert [problem.path for problem in found] == [
        f'/{number}/leaf' for number in range(base.MAX_PROBLEMS)
    ]


class Nest(pydantic.BaseModel):
    k: list[Nest] = []
    v: list[int] = []


def nest(depth: int, wrong: int) -> Any:
    value: Any = {'v': ['x'] * wrong}
    for _ in range(depth):
        value = {'k': [value]}
    return value


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each step that is taken in a value to find the places of pydantic's errors."""
    taken: list[None] = []
    inner = with_pydantic._inner

    def counted(here: Any, step: int | str) -> Any:
        taken.append(None)
        return inner(here, step)

    monkeypatch.setattr(with_pydantic, '_inner', counted)
    return taken


def test_of_many_problems_with_one_path_few_are_looked_at(steps: list[None]) -> None:
    depth = 100

    (problem,) = problems_of(Nest, nest(depth, with_pydantic._MAX_ERRORS))

    assert problem.path == '/k/0' * (base.MAX_PATH_CHARACTERS // len('/k/0')) + '/k'
    assert len(steps) == 5 * base.MAX_PROBLEMS * (2 * depth + 2)


def test_too_many_problems_are_counted_and_none_is_looked_at(steps: list[None]) -> None:
    too_many = with_pydantic._MAX_ERRORS + 1
    said = f'{too_many} values do not fit'

    assert problems_of(Nest, nest(1, too_many)) == [Problem('', said)]
    assert Problem('', f'Nest: {said}') in problems_of(Nest | Cat, nest(1, too_many))
    assert steps == []


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each conversion that is made to find a place."""
    made: list[None] = []
    converting = with_msgspec._converting

    def counting(annotation: Any) -> Callable[[Any], Any]:
        convert = converting(annotation)

        def counted(value: Any) -> Any:
            made.append(None)
            return convert(value)

        return counted

    monkeypatch.setattr(with_msgspec, '_converting', counting)
    return made


@pytest.mark.parametrize('wrong', [0, 1, 4_999, 8_192, 9_998, 9_999])
@pytest.mark.parametrize('is_key', [False, True])
def test_one_of_many_keys_is_found_in_a_few_conversions(
    conversions: list[None], wrong: int, is_key: bool
) -> None:
    value = {str(number): number for number in range(10_000)}
    items: list[tuple[str, Any]] = list(value.items())
    items[wrong] = ('x', 1) if is_key else (items[wrong][0], 'x')

    assert paths_of(dict[int, int], dict(items)) == [f'/{items[wrong][0]}']
    assert len(conversions) <= 14 + 2  # and those of the conversion itself


class Tree(msgspec.Struct):
    leaf: int = 0
    inner: dict[str, Tree] = {}


def test_what_is_nested_to_take_long_is_told_of_what_it_is_in(conversions: list[None]) -> None:
    value: dict[str, Any] = {'leaf': 'x'}
    for _ in range(100):
        value = {'inner': {**{str(number): {} for number in range(31)}, 'last': value}}

    (path,) = paths_of(Tree, value)

    assert path == '/inner/last' * 12 + '/inner'
    assert len(conversions) <= with_msgspec.MAX_CONVERSIONS + 2


def nested(depth: int, **innermost: Any) -> Any:
    value: Any = innermost
    for _ in range(depth):
        value = {'next': value}
    return value


def test_a_deep_path_is_told_as_far_as_it_is_sent() -> None:
    (path,) = paths_of(Chain, nested(300, next='x'))

    assert path == '/next' * (base.MAX_PATH_CHARACTERS // len('/next'))


# -- whatever else a converter raises


class Bad(msgspec.Struct):
    def __post_init__(self) -> None:
        raise LookupError('secret')


class BadModel(pydantic.BaseModel):
    @pydantic.model_validator(mode='before')
    @classmethod
    def fail(cls, value: Any) -> Any:
        raise LookupError('secret')


@pytest.mark.parametrize(
    ('annotation', 'value'),
    [(Bad, {}), (BadModel, {}), (float, 10**400), (list[Bad], [{}])],
    ids=['msgspec', 'pydantic', 'plain', 'boxed'],
)
def test_a_converter_that_breaks_says_no_more_than_that(annotation: Any, value: Any) -> None:
    assert problems_of(annotation, value) == [NOT_CONVERTIBLE]


def test_what_is_nested_too_deeply_could_not_be_converted() -> None:
    payload_type = payloads.payload_type(Chain)
    value = nested(100_000)

    with pytest.raises(RecursionError) as raised:
        payload_type.convert(value)

    assert payload_type.problems(raised.value, value) == [NOT_CONVERTIBLE]
    while value:  # what is nested so deeply had better not be freed at once
        value = value.pop('next', None)


# -- properties

keys = st.text('ab./~[]`$', max_size=3) | st.text(
    st.characters(exclude_categories=['Cs']), max_size=9
)
leaves = st.integers(-9, 9) | st.just('wrong')
trees = st.dictionaries(
    keys, st.lists(st.dictionaries(keys, leaves, max_size=5), max_size=4), max_size=5
)


def wrong_leaves(value: Any, path: str = '') -> list[str]:
    """Pointers to all that is no number, in order."""
    if not isinstance(value, (dict, list)):
        return [path] if value == 'wrong' else []
    found = []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        step = str(key).replace('~', '~0').replace('/', '~1')
        found += wrong_leaves(inner, f'{path}/{step}')
    return found


@anything
@given(trees)
def test_the_pointer_is_the_first_wrong_things_whatever_keys_are_called(value: Any) -> None:
    assert paths_of(dict[str, list[dict[str, int]]], value) == wrong_leaves(value)[:1]


class Leaves(pydantic.RootModel[dict[str, list[dict[str, int]]]]):
    pass


@anything
@given(trees)
def test_pydantic_says_all_wrong_things_whatever_keys_are_called(value: Any) -> None:
    assert paths_of(Leaves, value) == wrong_leaves(value)[: base.MAX_PROBLEMS]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys | st.sampled_from(list(order())), inner),
    max_leaves=20,
)


def resolves(path: str, value: Any) -> bool:
    """Whether a pointer leads to something, or to what an object could have."""
    steps = [step.replace('~1', '/').replace('~0', '~') for step in path.split('/')[1:]]
    for number, step in enumerate(steps, 1):
        if isinstance(value, dict) and (step in value or number == len(steps)):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) <= len(value):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return False
    return True


@anything
@given(
    st.sampled_from([*STYLES.values(), Odd, OddStruct, OddModel, Tree, Holder, Chain | CatModel]),
    json_values,
)
def test_a_pointer_leads_somewhere_in_any_payload(annotation: Any, value: Any) -> None:
    for problem in problems_of(annotation, value):
        assert resolves(problem.path, value)
