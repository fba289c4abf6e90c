"""What is taken of what clients send: depth, keys that repeat, numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import FrozenInstanceError
import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import msgpack
import msgspec
import orjson
import pytest

from falcon_ws_mw.codec import Codec
from falcon_ws_mw.decoding import DEFAULT_DECODING, Decoding, Depth, text_reader
from falcon_ws_mw.envelope import MAX_SAFE_INTEGER, Incoming
from falcon_ws_mw.errors import ConfigurationError, MalformedMessage
from falcon_ws_mw.media import Media
from falcon_ws_mw.payloads import payload_type

anything = settings(deadline=None, database=None)

MAX_DEPTH = 32
"""The documented default."""


def malformed(raw: str | bytes, media: Media) -> MalformedMessage:
    with pytest.raises(MalformedMessage) as caught:
        media.decode(raw)
    return caught.value


def reading(**options: Any) -> Media:
    return Media(decoding=Decoding(**options))


# -- options


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'max_depth': 1},
        {'max_depth': 1000},
        {'max_depth': None},
        {'duplicate_keys': 'last'},
        {'duplicate_keys': 'refuse'},
        {'integers': 'any'},
        {'integers': 'safe'},
        {'non_finite': 'refuse'},
        {'non_finite': 'accept'},
    ],
)
def test_these_are_options(options: dict[str, Any]) -> None:
    decoding = Decoding(**options)

    assert {name: getattr(decoding, name) for name in options} == options


@pytest.mark.parametrize('depth', [0, -1, 1001, True, False, 1.0, '32', [32], math.nan])
def test_a_depth_is_a_whole_number_from_1_to_1000(depth: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Decoding(max_depth=depth)

    assert str(caught.value) == (
        f'Decoding.max_depth={depth!r}: expected an int from 1 to 1000, or None for no bound but '
        'that of what decodes'
    )


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('duplicate_keys', "'last' or 'refuse'"),
        ('integers', "'any' or 'safe'"),
        ('non_finite', "'refuse' or 'accept'"),
    ],
)
@pytest.mark.parametrize('value', ['', 'REFUSE', 'first', None, True, ['last']])
def test_a_choice_is_one_of_its_words(name: str, expected: str, value: object) -> None:
    named: dict[str, Any] = {name: value}

    with pytest.raises(ConfigurationError) as caught:
        Decoding(**named)

    assert str(caught.value) == f'Decoding.{name}={value!r}: expected {expected}'


def test_what_nobody_says_is_this() -> None:
    expected = Decoding(
        max_depth=MAX_DEPTH, duplicate_keys='last', integers='any', non_finite='refuse'
    )

    assert expected == DEFAULT_DECODING == Decoding()


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Decoding().max_depth = 5  # type: ignore[misc]


def test_options_are_given_by_name() -> None:
    values: tuple[Any, ...] = (32,)

    with pytest.raises(TypeError):
        Decoding(*values)


# -- depth


class Anything(msgspec.Struct):
    x: Any = None


def nested(opening: str, closing: str, depth: int) -> str:
    """A message whose payload is nested so that it is that deep, `x`s of objects around it."""
    inner = depth - 1
    return f'{{"type":"t","payload":{opening * inner}{closing * inner}}}'


def objects(depth: int, around: str = '') -> str:
    inner = depth - 1
    nest = f'{{"x":{around}' * (inner - 1) + '{}' + '}' * (inner - 1) if inner else '1'
    return f'{{"type":"t","payload":{nest}}}'


NESTS: dict[str, Callable[[int], str]] = {
    'arrays': lambda depth: nested('[', ']', depth),
    'spaced arrays': lambda depth: nested('[\n', ' ]\t', depth),
    'objects': objects,
    'short objects': lambda depth: objects(depth).replace('"x"', '""'),
    'spaced objects': lambda depth: objects(depth, around=' ' * 20),
    'behind strings': lambda depth: nested('["]]}}",', ']', depth - 1).replace(',]', ',[]]'),
    'behind quotes': lambda depth: nested('["\\"]",', ']', depth - 1).replace(',]', ',[]]'),
    'behind backslashes': lambda depth: nested('["\\\\",', ']', depth - 1).replace(',]', ',[]]'),
    'between backslashes': lambda depth: (
        f'{{"a":"\\\\",{nested("[", "]", depth)[1:-1]},"z":"\\\\"}}'
    ),
    'before siblings': lambda depth: nested('[', ',[],{}]', depth - 1).replace('[,', '[[],'),
    'in what nobody knows': lambda depth: (
        f'{{"type":"t","more":{"[" * (depth - 1)}{"]" * (depth - 1)}}}'
    ),
    'beside much': lambda depth: (
        f'{{"more":[{",".join(["{}"] * 100)}],{objects(depth)[1:]}'.replace('[[', '[')
    ),
    'not ASCII': lambda depth: f'{{"é":"[",{nested("[", "]", depth)[1:]}',
}


def depth_of(value: object) -> int:
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = list(value)
    else:
        return 0
    return 1 + max(map(depth_of, inner), default=0)


def decoders(max_depth: int | None) -> dict[str, Callable[[str], Incoming]]:
    """All ways from a text to a message."""
    table = {'t': payload_type(Anything | Any), 'u': payload_type(Anything)}
    codec = Codec(reading(max_depth=max_depth))
    packed = Codec(Media(load_binary=msgpack.unpackb, decoding=Decoding(max_depth=max_depth)))
    own = Codec(Media(loads=json.loads, decoding=Decoding(max_depth=max_depth)))
    return {
        'untyped': codec.decode,
        'typed': codec.decoder(table),
        'in one pass': codec.decoder(table, whole=False),
        'by an own handler': own.decode,
        'typed, by an own handler': own.decoder(table, whole=False),
        'binary': lambda text: packed.decode(msgpack.packb(orjson.loads(text))),
    }


@pytest.mark.parametrize('nest', NESTS.values(), ids=NESTS)
@pytest.mark.parametrize('way', decoders(None))
@pytest.mark.parametrize('max_depth', [3, 5, 32, 100])
def test_what_is_as_deep_as_may_be_is_read_and_what_is_deeper_is_not(
    nest: Callable[[int], str], way: str, max_depth: int
) -> None:
    decode = decoders(max_depth)[way]
    assert [depth_of(orjson.loads(nest(max_depth + more))) for more in (0, 1)] == [
        max_depth,
        max_depth + 1,
    ]

    assert decode(nest(max_depth)).type == 't'
    with pytest.raises(MalformedMessage) as caught:
        decode(nest(max_depth + 1))

    assert caught.value.description == (
        f'arrays and objects are nested deeper than {max_depth}, which is the most here'
    )


@pytest.mark.parametrize('max_depth', [1, 2, 999, 1000])
def test_the_message_itself_counts(max_depth: int) -> None:
    media = reading(max_depth=max_depth)
    inner = max_depth - 1
    text = f'{{"a":{"[" * inner}{"]" * inner}}}' if inner else '{}'

    assert media.decode(text) is not None
    assert 'deeper' in malformed(f'[{text}]', media).description


@pytest.mark.parametrize('max_depth', [1, 2, 32, 1000])
@pytest.mark.parametrize('around', [('[', ']'), ('{"":', '}')])
def test_no_text_is_so_short_that_nobody_looks(max_depth: int, around: tuple[str, str]) -> None:
    innermost = '[]' if around[0] == '[' else '{}'
    texts = [
        around[0] * (depth - 1) + innermost + around[1] * (depth - 1)
        for depth in (max_depth, max_depth + 1)
    ]
    media = reading(max_depth=max_depth)

    assert media.decode(texts[0]) is not None
    assert 'deeper' in malformed(texts[1], media).description


def test_without_a_bound_the_decoder_has_one() -> None:
    media = reading(max_depth=None)

    assert media.decode('[' * 1024 + ']' * 1024)
    assert 'not valid JSON' in malformed('[' * 1025 + ']' * 1025, media).description


def test_any_depth_by_default_is_32() -> None:
    assert Media().decode('[' * MAX_DEPTH + ']' * MAX_DEPTH)
    assert 'deeper than 32' in malformed('[' * 33 + ']' * 33, Media()).description


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('[]{}"\\,: é\n', max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text('[]{}"\\', max_size=4), inner)
    ),
    max_leaves=40,
)
separators = st.sampled_from([(',', ':'), (', ', ': '), (' ,\n', '\t: ')])


@anything
@given(values, separators, st.booleans(), st.integers(1, 12))
def test_the_depth_of_any_text_is_found(
    value: object, separators: tuple[str, str], is_ascii: bool, max_depth: int
) -> None:
    text = json.dumps(value, separators=separators, ensure_ascii=is_ascii)
    media = reading(max_depth=max_depth)

    if depth_of(value) <= max_depth:
        assert media.decode(text) == orjson.loads(text)
    else:
        assert 'nested deeper' in malformed(text, media).description


@anything
@given(values, separators)
def test_the_depth_of_json_is_seen_in_its_text(value: object, separators: tuple[str, str]) -> None:
    text = json.dumps(value, separators=separators)
    depth = depth_of(value)

    for max_depth in range(1, depth + 3):
        assert Depth(max_depth).is_too_deep(text) is (depth > max_depth)


@pytest.mark.parametrize('text', ['', 'a "quoted" \\ word', 'C:\\', '[x](y) {{', ':-] "}"', 'é['])
def test_many_side_by_side_are_as_deep_as_one(text: str) -> None:
    songs = [{'title': text, 'tags': [text], 'by': {'name': text}} for _ in range(1000)]
    message = json.dumps({'type': 'add', 'payload': songs})

    assert [Depth(max_depth).is_too_deep(message) for max_depth in (3, 4)] == [True, False]


@pytest.mark.parametrize('depth', [7, 8, 9, 10, 40, 900])
def test_towers_are_as_deep_as_the_highest(depth: int) -> None:
    towers = ['[' * height + ']' * height for height in (1, 5, depth - 1, 3)]
    message = f'[{",".join(towers * 40)}]'

    assert [Depth(max_depth).is_too_deep(message) for max_depth in (depth - 1, depth)] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    'text', ['"', '[', ']', '}{' * 99, '["' * 99, '\\', '\ud800' + '[]' * 99, '[}' * 99]
)
def test_any_text_may_be_asked_about(text: str) -> None:
    """In one pass it is asked before anybody knows whether it is JSON."""
    assert Depth(MAX_DEPTH).is_too_deep(text) in {True, False}


# -- depth, by the app's own handlers


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def doubling(depth: int) -> list[Any]:
    """One list in two places, and so on: few lists, and very many ways to the last."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value, value]
    return value


OWN: list[tuple[Callable[[], Any], bool]] = [
    (circle, False),
    (lambda: doubling(MAX_DEPTH), True),
    (lambda: doubling(MAX_DEPTH + 1), False),
    (lambda: [OrderedDict(x=doubling(MAX_DEPTH - 2))], True),
    (lambda: [OrderedDict(x=doubling(MAX_DEPTH - 1))], False),
    (lambda: [(doubling(MAX_DEPTH - 2),)], True),
    (lambda: [(doubling(MAX_DEPTH - 1),)], False),
    (lambda: 'x', True),
    (lambda: None, True),
    (object, True),
]


@pytest.mark.parametrize('raw', ['x' * 33, b'x' * 33], ids=['text', 'binary'])
@pytest.mark.parametrize(('made', 'is_taken'), OWN, ids=range(len(OWN)))
def test_an_own_handler_may_make_anything(
    made: Callable[[], Any], is_taken: bool, raw: str | bytes
) -> None:
    media = Media(loads=lambda raw: made(), load_binary=lambda raw: made())

    if is_taken:
        media.decode(raw)
    else:
        assert 'nested deeper than 32' in malformed(raw, media).description


def test_what_is_too_deep_has_been_decoded_and_so_is_answered_in_its_own_format() -> None:
    media = Media(load_binary=msgpack.unpackb)
    deep = orjson.loads('[' * 33 + ']' * 33)

    assert malformed(msgpack.packb(deep), media).decoded
    assert not malformed(b'\xc1', media).decoded


def test_an_own_handler_decides_what_else_its_text_may_say() -> None:
    strict = Decoding(duplicate_keys='refuse', integers='safe')
    media = Media(loads=json.loads, decoding=strict)

    assert media.decode('{"a":1,"a":9007199254740993}') == {'a': 9007199254740993}


# -- keys that repeat


@pytest.mark.parametrize(
    ('text', 'key'),
    [
        ('{"a":1,"a":1}', 'a'),
        ('{"a":1,"b":2,"a":3}', 'a'),
        ('{"a":1,"\\u0061":2}', 'a'),
        ('{"\\u00e9":1,"é":2}', 'é'),
        ('{"😀":1,"\\ud83d\\ude00":2}', '😀'),
        ('{"/":1,"\\/":2}', '/'),
        ('{"":1,"":2}', ''),
        ('{"a" :1 , "a"\n:2}', 'a'),
        ('[{"x":{"a":[{}],"a":{}}}]', 'a'),
        ('{"a":{"b":1},"c":[{"a":2}],"a":3}', 'a'),
        ('{"\\"":1,"\\u0022":2}', '"'),
        ('{"\\\\":1,"\\\\":2}', '\\'),
        ('{"}":1,"{":2,"}":3}', '}'),
        ('{"a":"\\"","a":1}', 'a'),
        ('{"type":"x","type":"y"}', 'type'),
        (f'{{"{"k" * 99}":1,"{"k" * 99}":2}}', 'k' * 99),
    ],
)
def test_a_key_stands_once_where_that_is_the_rule(text: str, key: str) -> None:
    error = malformed(text, reading(duplicate_keys='refuse'))

    assert repr(key)[:60] in error.description
    assert 'stands twice in one object, and may stand once' in error.description
    assert len(error.description) < 200
    assert not error.decoded


@pytest.mark.parametrize(
    'text',
    [
        '{}',
        '{"a":"a","b":"a"}',
        '{"a":{"a":{"a":1}}}',
        '[{"a":1},{"a":1}]',
        '{"a":[{"a":1},"a",{"a":1}]}',
        '{"a":"\\"a\\":1,\\"a\\":","b":1}',
        '{"a":":","A":1}',
        '["a","a"]',
        '"a"',
        '{"\\\\":1,"\\\\\\\\":2}',
        '{"{":"}","}":"{"}',
        '{"é":1,"e\\u0301":2}',
    ],
)
def test_what_only_looks_like_a_repeated_key_is_read(text: str) -> None:
    assert reading(duplicate_keys='refuse').decode(text) == orjson.loads(text)


keys = st.sampled_from(['a', '\\u0061', 'b', '\\"', '\\u0022', '\\\\', 'é', '\\u00e9', '{', ''])
texts_with_keys = st.recursive(
    st.sampled_from(['1', 'null', '"a"', '":"', '"\\"a\\":"', '"}{"', '[]', '{}']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: f'[{",".join(parts)}]')
        | st.lists(st.tuples(keys, inner), max_size=4).map(
            lambda pairs: '{' + ', '.join(f'"{key}" : {value}' for key, value in pairs) + '}'
        )
    ),
    max_leaves=12,
)


def repeats(text: str) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    return found


@anything
@given(texts_with_keys)
def test_keys_repeat_where_a_parser_says_so(text: str) -> None:
    media = reading(duplicate_keys='refuse')

    if repeats(text):
        assert 'stands twice' in malformed(text, media).description
    else:
        assert media.decode(text) == orjson.loads(text)


# -- whole numbers


@pytest.mark.parametrize(
    'number',
    [
        str(MAX_SAFE_INTEGER + 1),
        str(-MAX_SAFE_INTEGER - 1),
        str(2**63),
        str(2**64 - 1),
        str(2**64),
        str(-(2**63) - 1),
        '1' + '0' * 300,
    ],
)
@pytest.mark.parametrize(
    'around', ['{}', '[{}]', '{{"a":{}}}', '["9", {} ]', '[{},1.5]', '[1e2,{}]']
)
def test_a_whole_number_is_safe_where_that_is_the_rule(number: str, around: str) -> None:
    error = malformed(around.format(number), reading(integers='safe'))

    assert error.description == (
        f'a whole number of {len(number.lstrip("-"))} digits is beyond ±(2⁵³-1): send it as text'
    )
    assert not error.decoded


@pytest.mark.parametrize(
    'text',
    [
        str(MAX_SAFE_INTEGER),
        str(-MAX_SAFE_INTEGER),
        '-0',
        '"9007199254740993"',
        '{"9007199254740993":"-9007199254740993"}',
        '"\\"9007199254740993"',
        '9007199254740993.0',
        '9007199254740993e0',
        '9007199254740993E+2',
        '0.9007199254740993',
        '0.90071992547409939007199254740993',
        '1e-90071992547409930',
        '[1e20,1.0e0000000000000000000020]',
        '[9007199254740991,-9007199254740991,"9007199254740993",""]',
        '"٩٠٠٧١٩٩٢٥٤٧٤٠٩٩٣"',
    ],
)
def test_what_is_no_large_whole_number_is_read(text: str) -> None:
    assert reading(integers='safe').decode(text) == orjson.loads(text)


@anything
@given(
    st.recursive(
        st.integers()
        | st.integers(2**53 - 3, 2**53 + 3)
        | st.floats(-1e300, 1e300)
        | st.integers().map(str)
        | st.text('"\\0123456789.e', max_size=30),
        lambda inner: st.lists(inner) | st.dictionaries(st.integers().map(str), inner),
        max_leaves=10,
    )
)
def test_large_whole_numbers_are_found_where_a_parser_finds_them(value: object) -> None:
    text = json.dumps(value)
    found: list[int] = []
    json.loads(text, parse_int=lambda digits: found.append(int(digits)))
    media = reading(integers='safe')

    if any(abs(number) > MAX_SAFE_INTEGER for number in found):
        assert 'beyond' in malformed(text, media).description
    else:
        assert media.decode(text) == value


# -- numbers that are none


@pytest.mark.parametrize('text', ['NaN', '[Infinity]', '{"a":-Infinity}'])
def test_what_is_no_json_is_not_read(text: str) -> None:
    assert 'not valid JSON' in malformed(text, Media()).description


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('Infinity', math.inf),
        ('-Infinity', -math.inf),
        ('[Infinity,-Infinity]', [math.inf, -math.inf]),
        ('{"a" : Infinity }', {'a': math.inf}),
        ('["NaN","Infinity","\\"NaN",Infinity]', ['NaN', 'Infinity', '"NaN', math.inf]),
        ('[1,-0,1.5,1e3,Infinity]', [1, 0, 1.5, 1000.0, math.inf]),
        (f'[{2**64 - 1},{2**64},Infinity]', [2**64 - 1, float(2**64), math.inf]),
        (f'[{-(2**63)},{-(2**63) - 1},Infinity]', [-(2**63), float(-(2**63)), math.inf]),
        ('["\\ud83d\\ude00",Infinity]', ['😀', math.inf]),
        ('{"NaN":Infinity,"a":1,"a":2}', {'NaN': math.inf, 'a': 2}),
    ],
)
def test_numbers_that_are_none_are_read_where_that_is_the_rule(text: str, value: object) -> None:
    decoded = reading(non_finite='accept').decode(text)

    assert decoded == value
    assert repr(decoded) == repr(value)


def test_nan_is_read_where_that_is_the_rule() -> None:
    (nan,) = reading(non_finite='accept').decode('[NaN]')

    assert math.isnan(nan)


@pytest.mark.parametrize(
    'text',
    [
        '["\\ud800",NaN]',
        '{"\\udc00":NaN}',
        '["\ud800",NaN]',
        '[1e999,NaN]',
        '[-1e999,NaN]',
        f'[1{"0" * 400},NaN]',
        f'[{"1" * 5000},NaN]',
        '[NaN',
        '[NaN,]',
        '[+Infinity]',
        '[--Infinity]',
        '[- Infinity]',
        '[-NaN]',
        '[nan]',
        '[inf]',
        '[infinity]',
        '[NaNNaN]',
        '[NaN1]',
        '[1NaN]',
        '[1Infinity]',
        '[nullNaN]',
        '{NaN:1}',
        '["a\nb",NaN]',
        '["\\x",NaN]',
        '["NaN]',
        "['NaN',NaN]",
        '\ufeff[NaN]',
        'NaN x',
        '"\\"',
        '1e999',
        f'[{"[" * 1100}{"]" * 1100},NaN]',
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_whatever_else_is_no_json_is_refused_beside_them(text: str) -> None:
    assert 'not valid JSON' in malformed(text, reading(non_finite='accept')).description


def test_a_string_without_an_end_costs_no_more_than_its_length() -> None:
    """By a pattern that goes back, it would be the square of it: the test's time would be over."""
    text = '["' + '\\"' * 500_000 + 'NaN'

    assert 'not valid JSON' in malformed(text, reading(non_finite='accept')).description


@anything
@given(values, separators, st.booleans())
def test_where_more_is_taken_what_is_json_means_the_same(
    value: object, separators: tuple[str, str], is_ascii: bool
) -> None:
    text = json.dumps([value, 'NaN'], separators=separators, ensure_ascii=is_ascii)
    with_nan = text.removesuffix('"NaN"]') + 'NaN]'
    read = text_reader(Decoding(non_finite='accept'))

    assert repr(read(text)) == repr(orjson.loads(text))
    assert repr(read(with_nan)[0]) == repr(orjson.loads(text)[0])


def test_numbers_that_are_none_go_out_as_null() -> None:
    media = reading(non_finite='accept')

    assert media.encode(media.decode('[NaN,Infinity,-Infinity]'))['text'] == '[null,null,null]'


# -- together


class Number(msgspec.Struct):
    n: float


BROKEN = [
    ({'duplicate_keys': 'refuse'}, '{"n":1,"n":1}', 'stands twice'),
    ({'integers': 'safe'}, '{"n":9007199254740993}', 'beyond'),
    ({'non_finite': 'accept', 'integers': 'safe'}, '{"n":[NaN,9007199254740993]}', 'beyond'),
    ({'non_finite': 'accept', 'duplicate_keys': 'refuse'}, '{"n":NaN,"n":1}', 'stands twice'),
    ({'max_depth': 2}, '{"n":[]}', 'nested deeper than 2'),
    ({'max_depth': 2, 'non_finite': 'accept'}, '{"n":[NaN]}', 'nested deeper than 2'),
]


@pytest.mark.parametrize('whole', [True, False])
@pytest.mark.parametrize(('options', 'payload', 'says'), BROKEN, ids=range(len(BROKEN)))
def test_a_rule_holds_for_typed_payloads_too(
    options: dict[str, Any], payload: str, says: str, whole: bool
) -> None:
    decode = Codec(reading(**options)).decoder({'t': payload_type(Number)}, whole=whole)

    with pytest.raises(MalformedMessage, match=says):
        decode(f'{{"type":"t","payload":{payload}}}')


def is_read_in_one_pass(text: str, **options: Any) -> bool:
    """What is, has no object that the message was read from."""
    table = {'t': payload_type(list[Number])}
    incoming = Codec(reading(**options)).decoder(table, whole=False)(text)
    assert incoming.payload[0] == Number(1.0)
    return incoming.message is None


@pytest.mark.parametrize('options', [{}, {'max_depth': 5}, {'max_depth': None}])
@pytest.mark.parametrize('count', [1, 10, 1000])
def test_a_bound_of_the_depth_leaves_payloads_in_one_pass(
    options: dict[str, Any], count: int
) -> None:
    songs = [{'n': 1, 'tags': [{'{': '[\n'}]}] * count

    assert is_read_in_one_pass(json.dumps({'type': 't', 'payload': songs}), **options)


@pytest.mark.parametrize(
    'options', [{'duplicate_keys': 'refuse'}, {'integers': 'safe'}, {'non_finite': 'accept'}]
)
def test_any_other_rule_takes_payloads_out_of_it(options: dict[str, Any]) -> None:
    assert not is_read_in_one_pass('{"type":"t","payload":[{"n":1}]}', **options)


def test_a_typed_payload_may_have_numbers_that_are_none() -> None:
    decode = Codec(reading(non_finite='accept')).decoder({'t': payload_type(Number)}, whole=False)

    assert decode('{"type":"t","payload":{"n":-Infinity}}').payload == Number(-math.inf)


def test_an_envelopes_codec_decodes_by_the_same_rules() -> None:
    codec = Codec(reading(max_depth=1)).speaking(Codec().envelope)

    with pytest.raises(MalformedMessage, match='nested deeper than 1'):
        codec.decode('{"type":"t","payload":[]}')


@anything
@given(values, st.sampled_from([{}, {'integers': 'safe'}, {'duplicate_keys': 'refuse'}]))
def test_what_has_been_read_can_be_written(value: object, options: dict[str, Any]) -> None:
    media = reading(**options)
    try:
        decoded = media.decode(json.dumps(value))
    except MalformedMessage:
        return

    assert media.decode(media.encode(decoded)['text']) == decoded
