"""Whatever clients say and whenever they leave: nothing else escapes, nothing is lost or left.

`FUZZ_PROFILE=long` makes 10,000 examples of everything.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import datetime as dt
from decimal import Decimal
from functools import cache
import json
import logging
import os
import re
from typing import Any, TypedDict

import falcon
import falcon.asgi
from falcon.constants import WebSocketPayloadType
from falcon.media.handlers import MissingDependencyHandler
import falcon.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
import msgpack
import msgspec
import orjson
import pydantic
import pytest

from falcon_ws_mw import Envelope, WebSocket, install
from falcon_ws_mw.asgi import Event
from falcon_ws_mw.codec import Codec
from falcon_ws_mw.decoding import Decoding
from falcon_ws_mw.envelope import MAX_SAFE_INTEGER, Incoming, MessageId, error_payload
from falcon_ws_mw.errors import UnhandledMessage
from falcon_ws_mw.lifespan import WebSocketLifespan
from falcon_ws_mw.media import Media
from falcon_ws_mw.middleware import media_of
from falcon_ws_mw.payloads import payload_type
from falcon_ws_mw.payloads.base import PayloadType
from falcon_ws_mw.reading import Decode

from .examples_made import some
from .servers import PATIENCE_SECONDS

_IS_LONG = os.environ.get('FUZZ_PROFILE') == 'long'

pytestmark = [
    pytest.mark.timeout(7200 if _IS_LONG else 60),
    # What fails is shown, also where that is much.
    pytest.mark.filterwarnings('ignore:Generating overly large repr'),
]

quick = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile('falcon_ws_quick', quick)
settings.register_profile('falcon_ws_long', quick, max_examples=10_000)

# By decorators, and not for all: other files keep the settings that they have.
PROFILE = settings.get_profile('falcon_ws_long' if _IS_LONG else 'falcon_ws_quick')


def examples(quickly: int) -> settings:
    """The settings of a test that makes so many examples when nobody asked for many."""
    return PROFILE if _IS_LONG else settings(PROFILE, max_examples=some(quickly))


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged at WARNING or above, by anybody."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f'{record.name}: {record.getMessage()} {record.exc_info}')

    handler = Handler(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert lines == []


# -- what a hostile client may say

NUMBERS = [
    '0',
    '-0',
    '-1',
    '1.5',
    '1e3',
    '1E-999',
    '1e999',
    '-1e400',
    '01',
    '1.',
    '.5',
    '+1',
    '0x10',
    '-',
    'NaN',
    'Infinity',
    '-Infinity',
    *map(str, (MAX_SAFE_INTEGER, MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER - 1)),
    *map(str, (2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1)),
    '9' * 400,
    '9' * 5000,
    '0.' + '1' * 400,
]
STRINGS = [
    '""',
    '"a"',
    '"song"',
    '"reply"',
    '"error"',
    '"\\u0000"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\ud800"',
    '"é😀"',
    '"a\nb"',
    '"\\x"',
    '"\\',
    '"',
    '"[[[{\\"',
    '"2024-02-30"',
    '"2024-02-29T00:00:00Z"',
    '"1e400"',
    f'"{"x" * 300}"',
]
WORDS = ['null', 'true', 'false', 'undefined', 'None', '', ' ', '\ufeff', '//', "'a'"]
KEYS = [
    '"type"',
    '"\\u0074ype"',
    '"payload"',
    '"id"',
    '"event"',
    '"data"',
    '"ref"',
    '"title"',
    '"seconds"',
    '"inner"',
    '"__proto__"',
    '"constructor"',
    '"toString"',
    '"__class__"',
    '""',
    '"a/b~c"',
    '"\\ud800"',
    'type',
    '1',
]
DEPTHS = [1, 2, 29, 30, 31, 32, 33, 200, 253, 254, 255, 600, 990, 1000, 1023, 1024, 1025, 3000]
AROUND = [('[', ']'), ('{"inner":', '}'), ('[{"inner":', '}]'), ('[1,', ']'), ('{"a":[],"b":', '}')]


def nested(depth: int, around: tuple[str, str], inside: str) -> str:
    return around[0] * depth + inside + around[1] * depth


scalars = (
    st.sampled_from(NUMBERS)
    | st.sampled_from(STRINGS)
    | st.sampled_from(WORDS[:3])
    | st.integers(-3, 3).map(str)
    | st.text(max_size=5).map(json.dumps)
)
hostile = st.sampled_from(WORDS) | st.builds(
    nested, st.sampled_from(DEPTHS), st.sampled_from(AROUND), st.sampled_from(['1', '[]', '{}'])
)
keys = st.sampled_from(KEYS) | st.text(max_size=3).map(json.dumps)
commas = st.sampled_from([',', ', ', ' ,\n', ',', ',,'])


def as_array(parts: list[str], comma: str) -> str:
    return f'[{comma.join(parts)}]'


def as_object(pairs: list[tuple[str, str]], comma: str) -> str:
    return '{' + comma.join(f'{key}:{value}' for key, value in pairs) + '}'


json_like = st.recursive(
    scalars,
    lambda inner: (
        st.builds(as_array, st.lists(inner, max_size=4), commas)
        | st.builds(as_object, st.lists(st.tuples(keys, inner), max_size=4), commas)
    ),
    max_leaves=8,
)
"""What looks like JSON, and often is."""

FITTING = [
    '{"title":"Blue","seconds":1}',
    '{"title":"Blue","seconds":1,"more":[{"a":1}]}',
    '{"title":1,"seconds":"x"}',
    '{"inner":{"inner":{"inner":null}}}',
    '{"when":"2024-02-29T00:00:00Z","price":"1.50"}',
    '[1,2,3]',
    '[1,"2"]',
    '3',
    '{}',
]
TYPES = ['song', 'model', 'typed', 'data', 'chain', 'nest', 'numbers', 'either', 'when', 'any']
types = st.sampled_from([*TYPES, 'reply', 'error', 'nobody', '', '__init__', 'é']).map(json.dumps)
payloads = st.sampled_from(FITTING) | json_like | hostile
ids = st.integers(-5, 5).map(str) | st.sampled_from(['"a"', '""', 'null']) | scalars


def as_message(
    names: tuple[str, str, str],
    type: str,
    payload: str | None,
    id: str | None,
    more: list[tuple[str, str]],
) -> str:
    fields = [(json.dumps(names[0]), type), *more]
    if payload is not None:
        fields.append((json.dumps(names[1]), payload))
    if id is not None:
        fields.append((json.dumps(names[2]), id))
    return as_object(fields, ',')


messages = st.builds(
    as_message,
    st.sampled_from([('type', 'payload', 'id'), ('event', 'data', 'ref')]),
    types | scalars,
    st.none() | payloads,
    st.none() | ids,
    st.just([]) | st.lists(st.tuples(keys, scalars), max_size=2),
)
"""What is nearly a message, and often one."""


def spoilt(text: str, at: int, how: str) -> str:
    at %= len(text) + 1
    return text[:at] + how + text[at + 1 :]


texts = (
    messages
    | messages
    | json_like
    | hostile
    | st.text()
    | st.builds(spoilt, messages, st.integers(0, 200), st.sampled_from(['', '"', '\\', '}', '\0']))
)
packable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.builds(msgpack.ExtType, st.integers(0, 5), st.binary(max_size=4)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner)
    ),
    max_leaves=8,
)


def as_packed(type: str, payload: object, id: object) -> bytes:
    message = {'type': type, 'payload': payload}
    packed: bytes = msgpack.packb(message if id is None else {**message, 'id': id})
    return packed


def deep_bytes(depth: int) -> bytes:
    return b'\x91' * depth + b'\x90'


blobs = (
    st.binary()
    | packable.map(msgpack.packb)
    | st.builds(as_packed, st.sampled_from([*TYPES, 'nobody']), packable, st.none() | packable)
    | st.builds(as_packed, st.sampled_from(TYPES), packable, st.integers(0, 9) | st.text())
    | st.sampled_from(DEPTHS).map(deep_bytes)
    | messages.map(lambda text: text.encode(errors='surrogatepass'))
)
frames: st.SearchStrategy[str | bytes] = texts | texts | texts | blobs


# -- what reads it


class Song(msgspec.Struct):
    title: str
    seconds: int


class Model(pydantic.BaseModel):
    title: str
    seconds: int = 0


class Typed(TypedDict):
    title: str
    seconds: int


@dataclass
class Data:
    title: str
    seconds: float = 0


class Chain(msgspec.Struct):
    inner: Chain | None = None


class Nest(pydantic.BaseModel):
    inner: Nest | list[Nest] | None = None


class Circle(msgspec.Struct, tag='circle'):
    radius: float


class When(msgspec.Struct, rename='camel', forbid_unknown_fields=True):
    when: dt.datetime | None = None
    price: Decimal | None = None


ANNOTATIONS: dict[str, Any] = {
    'song': Song,
    'model': Model,
    'typed': Typed,
    'data': Data,
    'chain': Chain,
    'nest': Nest,
    'numbers': list[int],
    'either': Circle | Data | int | str,
    'when': When,
}

TABLES: dict[str, dict[str, PayloadType | None]] = {
    'nothing': {},
    'msgspec': {
        name: payload_type(ANNOTATIONS[name]) for name in ('song', 'typed', 'data', 'chain', 'when')
    },
    'pydantic': {name: payload_type(ANNOTATIONS[name]) for name in ('model', 'nest')},
    'all': {**{name: payload_type(each) for name, each in ANNOTATIONS.items()}, 'any': None},
}

ENVELOPES = {
    'default': Envelope(),
    'renamed': Envelope(type_field='event', payload_field='data', id_field='ref'),
    'flat': Envelope(payload_field=None),
    'without ids': Envelope(id_field=None),
}

DECODINGS = {
    'default': Decoding(),
    'strict': Decoding(max_depth=3, duplicate_keys='refuse', integers='safe'),
    'lenient': Decoding(max_depth=None, non_finite='accept'),
    'deep': Decoding(max_depth=1000, non_finite='accept', duplicate_keys='refuse', integers='safe'),
}


@cache
def codec(envelope: str, decoding: str) -> Codec:
    media = Media(
        load_binary=msgpack.unpackb, dump_binary=msgpack.packb, decoding=DECODINGS[decoding]
    )
    return Codec(media, ENVELOPES[envelope])


@cache
def own_codec(envelope: str, decoding: str) -> Codec:
    """By handlers of an app that take more than JSON."""
    own = Media(loads=json.loads, load_binary=json.loads, decoding=DECODINGS[decoding])
    return Codec(own, ENVELOPES[envelope])


def decoded(decode: Decode, codec: Codec, frame: str | bytes) -> Incoming | None:
    """What is read, if anything is; if not, that can be told to the client."""
    try:
        incoming = decode(frame)
    except UnhandledMessage as error:
        answer = codec.encode_answer(
            codec.error_type,
            error_payload(error.to_http_error()),
            error.id,
            binary=isinstance(frame, bytes) and error.decoded,
        )
        said = (
            orjson.loads(answer['text']) if 'text' in answer else msgpack.unpackb(answer['bytes'])
        )
        assert len(str(said)) < 10_000
        return None
    assert isinstance(incoming.type, str)
    assert incoming.id is None or isinstance(incoming.id, (str, int))
    return incoming


each_envelope = st.sampled_from(list(ENVELOPES))
each_decoding = st.sampled_from(list(DECODINGS))


@examples(1000)
@given(frames, each_envelope, each_decoding, st.sampled_from(list(TABLES)), st.booleans())
def test_no_frame_is_worse_than_unhandled(
    frame: str | bytes, envelope: str, decoding: str, table: str, whole: bool
) -> None:
    by = codec(envelope, decoding)

    with silence():
        decoded(by.decode, by, frame)
        decoded(by.decoder(TABLES[table], whole=whole), by, frame)


@examples(400)
@given(frames, each_envelope, each_decoding, st.sampled_from(list(TABLES)))
def test_no_frame_is_worse_than_unhandled_by_handlers_that_take_more(
    frame: str | bytes, envelope: str, decoding: str, table: str
) -> None:
    by = own_codec(envelope, decoding)

    decoded(by.decode, by, frame)
    decoded(by.decoder(TABLES[table]), by, frame)


NUMBERS_THAT_DIFFER = re.compile('[0-9]{16}|[0-9][eE][+]?[0-9]{3}')
"""Beyond 64 bits, and beyond a float where nobody looks: one pass is documented to differ."""


@examples(600)
@given(
    st.builds(
        as_message,
        st.just(('type', 'payload', 'id')),
        st.sampled_from(list(TABLES['msgspec'])).map(json.dumps),
        st.none() | payloads,
        st.none() | ids,
        st.lists(st.tuples(keys, scalars), max_size=2),
    )
    | texts,
    st.sampled_from(['default', 'without ids']),
    each_decoding,
)
def test_what_is_read_in_one_pass_is_read_like_anything(
    text: str, envelope: str, decoding: str
) -> None:
    by = codec(envelope, decoding)
    both = [by.decoder(TABLES['msgspec'], whole=whole) for whole in (True, False)]

    thorough, fast = (decoded(decode, by, text) for decode in both)

    if not NUMBERS_THAT_DIFFER.search(text):
        assert repr(thorough and thorough[:3]) == repr(fast and fast[:3])


@examples(600)
@given(texts)
def test_what_is_read_can_be_sent_back(text: str) -> None:
    by = codec('default', 'default')
    incoming = decoded(by.decode, by, text)

    if incoming is not None:
        by.encode(incoming.message)
        by.encode_answer('reply', incoming.payload, incoming.id)


# -- in process: an app and frames, without a server


class Everything:
    """Handles a type for each annotation; each answers with what it has got."""

    def __init__(self) -> None:
        self.connected = self.disconnected = 0
        self.pauses = False

    async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
        self.connected += 1

    async def _answer(self, payload: Any) -> Any:
        if self.pauses:
            await asyncio.sleep(0)
        return payload

    async def on_ws_song(self, ws: WebSocket, payload: Song) -> Any:
        return await self._answer(payload)

    async def on_ws_model(self, ws: WebSocket, payload: Model) -> Any:
        return await self._answer(payload)

    async def on_ws_typed(self, ws: WebSocket, payload: Typed) -> Any:
        return await self._answer(payload)

    async def on_ws_data(self, ws: WebSocket, payload: Data) -> Any:
        return await self._answer(payload)

    async def on_ws_chain(self, ws: WebSocket, payload: Chain) -> Any:
        return await self._answer(payload)

    async def on_ws_nest(self, ws: WebSocket, payload: Nest) -> Any:
        return await self._answer(payload)

    async def on_ws_when(self, ws: WebSocket, payload: When) -> Any:
        return await self._answer(payload)

    async def on_ws_any(self, ws: WebSocket, payload: Any) -> Any:
        return await self._answer(payload)

    async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
        self.disconnected += 1


class NoObjects(Everything):
    """And for those that cannot be a whole message."""

    async def on_ws_numbers(self, ws: WebSocket, payload: list[int]) -> Any:
        return await self._answer(payload)

    async def on_ws_either(self, ws: WebSocket, payload: Circle | Data | int | str) -> Any:
        return await self._answer(payload)


NO_OBJECTS = frozenset({'numbers', 'either'})


@cache
def served(envelope: str, decoding: str, understands_binary: bool) -> Any:
    """An app of these, its resource, and what says how its frames are to be answered."""
    resource = Everything() if envelope == 'flat' else NoObjects()
    inner = falcon.asgi.App()
    app = install(inner, envelope=ENVELOPES[envelope], decoding=DECODINGS[decoding])
    if not understands_binary:
        missing: Any = MissingDependencyHandler('BINARY', 'msgpack')
        app.ws_options.media_handlers[WebSocketPayloadType.BINARY] = missing
    media = media_of(inner, DECODINGS[decoding])
    app.add_route('/ws', resource)
    left_out = NO_OBJECTS if envelope == 'flat' else frozenset()
    table = {name: each for name, each in TABLES['all'].items() if name not in left_out}
    return app, resource, Codec(media, ENVELOPES[envelope]), table


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in an event loop of its own, in which no task is left."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(work(), PATIENCE_SECONDS))
        assert asyncio.all_tasks(loop) == set()
    finally:
        loop.close()


def received(frame: str | bytes, shape: int) -> Event:
    """One of the forms in which servers give a frame."""
    kind, other = ('text', 'bytes') if isinstance(frame, str) else ('bytes', 'text')
    event: Event = {'type': 'websocket.receive', kind: frame}
    return {**event, other: None} if shape else event


async def conversation(app: WebSocketLifespan, events: list[Event], *, waits: bool) -> list[Any]:
    """What a server is given to send by an app that gets these events."""
    sent: list[Any] = []
    left = iter([{'type': 'websocket.connect'}, *events])

    async def receive() -> Event:
        if waits:
            await asyncio.sleep(0)
        return next(left, {'type': 'websocket.disconnect', 'code': 1001})

    async def send(event: Event) -> None:
        if waits:
            await asyncio.sleep(0)
        sent.append(event)

    scope: Any = falcon.testing.create_scope_ws('/ws')
    await app(scope, receive, send)
    return sent


def expected_answer(by: Codec, table: dict[str, PayloadType | None], frame: str | bytes) -> Any:
    """The type and the id of what answers a frame, and whether in binary; if anything does."""
    is_binary = isinstance(frame, bytes)
    try:
        incoming = by.decoder(table, whole=False)(frame)
    except UnhandledMessage as error:
        return by.error_type, error.id, is_binary and error.decoded
    if incoming.id is not None and incoming.type in {by.reply_type, by.error_type}:
        return None  # an answer to nothing
    if incoming.type not in table:
        return by.error_type, incoming.id, is_binary
    return None if incoming.id is None else (by.reply_type, incoming.id, is_binary)


def answer(by: Codec, event: Any) -> tuple[str, MessageId | None, bool]:
    """The type and the id of an answer, and whether it is binary."""
    assert event['type'] == 'websocket.send'
    text = event.get('text')
    message = msgpack.unpackb(event['bytes']) if text is None else orjson.loads(text)
    envelope: Any = by.envelope
    return message[envelope.type_field], message.get(envelope.id_field), text is None


@examples(200)
@given(
    st.lists(frames, max_size=30),
    each_envelope,
    each_decoding,
    st.booleans(),
    st.booleans(),
    st.integers(0, 1),
)
def test_each_frame_has_the_one_answer_that_it_is_owed(
    said: list[str | bytes],
    envelope: str,
    decoding: str,
    understands_binary: bool,
    waits: bool,
    shape: int,
) -> None:
    app, resource, by, table = served(envelope, decoding, understands_binary)
    resource.pauses = waits
    resource.connected = resource.disconnected = 0
    sent: list[Any] = []

    async def work() -> None:
        events = [received(frame, shape) for frame in said]
        sent.extend(await conversation(app, events, waits=waits))

    with silence():
        run(work)

    owed = [expected_answer(by, table, frame) for frame in said]
    assert sent.pop(0)['type'] == 'websocket.accept'
    assert [answer(by, event) for event in sent] == [each for each in owed if each is not None]
    assert (resource.connected, resource.disconnected) == (1, 1)
    assert app.ws_connection_manager.stats().connections == 0


# -- many connections, and who gets what

ROOMS = ['r1', 'r2', 'r3']
USERS = ['ada', 'bob']
TOPICS = ['a', 'a/b', 'a/b/c', 'b', 'b/b', '/', '$s/b']
FILTERS = ['a', 'a/b', 'a/+', 'a/#', '+', '+/b', '#', '+/+', '$s/#', '/']
MAX_PEERS = 6


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT's rule once more, by recursion."""
    if topic.startswith('$') and topic_filter[0] in '+#':
        return False

    def fit(filters: list[str], levels: list[str]) -> bool:
        if not filters or filters == ['#']:
            return bool(filters) or not levels
        return bool(levels) and filters[0] in {'+', levels[0]} and fit(filters[1:], levels[1:])

    return fit(topic_filter.split('/'), topic.split('/'))


class Peer:
    """A connection by a server that is made by hand, and what is to become of it.

    Attributes:
        ws: What its handlers get.
        events: What the server has to give.
        gate: Whether the server takes frames; if not, a send blocks.
        error: What its send raises.
        taken: What it has taken since the accept: texts, and codes of closes.
        owed: What it is to take.
        is_open: Whether anything more is to be delivered to it.
        rooms: The rooms that it should be in.
        filters: The topic filters that it should have.
        user: Whose it should be.
    """

    def __init__(self, app: WebSocketLifespan) -> None:
        self.ws: Any = None
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.events.put_nowait({'type': 'websocket.connect'})
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.taken: list[Any] = []
        self.owed: list[Any] = []
        self.is_open = True
        self.rooms: set[str] = set()
        self.filters: set[str] = set()
        self.user: str | None = None
        scope: Any = falcon.testing.create_scope_ws('/ws')
        self.task = asyncio.ensure_future(app(scope, self.events.get, self._send))

    async def _send(self, event: Any) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if event['type'] != 'websocket.accept':
            self.taken.append(event.get('text', event.get('code')))

    @property
    def blocks(self) -> bool:
        return not self.gate.is_set()

    @property
    def is_owed(self) -> bool:
        """Whether it blocks, and something waits for it."""
        return self.blocks and len(self.owed) > len(self.taken)


class Crowd(RuleBasedStateMachine):
    """Peers that join, talk, block, break and vanish, against lists of who should get what."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.app = install(falcon.asgi.App())
        self.manager = self.app.ws_connection_manager
        self.peers: list[Peer] = []
        self.connected: list[WebSocket] = []
        self.disconnects: Counter[str] = Counter()
        self.number = self.total = 0
        self.silence = silence()
        self.silence.__enter__()
        machine = self

        class Resource:
            async def on_ws_connect(self, req: falcon.asgi.Request, ws: WebSocket) -> None:
                machine.connected.append(ws)

            async def on_ws_echo(self, ws: WebSocket, payload: Any) -> Any:
                return payload

            async def on_ws_disconnect(self, ws: WebSocket, close_code: int) -> None:
                machine.disconnects[ws.id] += 1

        self.app.add_route('/ws', Resource())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something, and let everything run until it waits."""

        async def settled() -> Any:
            result = await work
            for _ in range(12):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(settled())

    def say(
        self, to: list[Peer], broadcast: Callable[[str], Coroutine[Any, Any, Any]], times: int = 1
    ) -> None:
        """Broadcast something: peers that are open get it, once, behind what came before."""
        for _ in range(times):
            self.number += 1
            text = f'{self.number}'
            lost = [peer for peer in to if peer.error is not None or not peer.is_open]

            report = self.do(broadcast(text))

            for peer in to:
                if peer in lost:
                    peer.is_open = False
                else:
                    peer.owed.append(text)
            assert (report.queued, report.dropped) == (len(to) - len(lost), len(lost))

    def peer(self, data: st.DataObject, *, is_open: bool = False) -> Peer:
        """One that is there, or that can be spoken to."""
        among = [peer for peer in self.peers if not is_open or (peer.is_open and not peer.error)]
        return data.draw(st.sampled_from(among))

    @property
    def any_open(self) -> bool:
        return any(peer.is_open and not peer.error for peer in self.peers)

    # -- who is there

    @precondition(lambda self: len(self.peers) < MAX_PEERS)
    @rule()
    def come(self) -> None:
        async def connect() -> Peer:
            return Peer(self.app)

        peer = self.do(connect())
        peer.ws = self.connected.pop()
        self.total += 1
        self.peers.append(peer)

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        self._end(self.peer(data))

    def _end(self, peer: Peer) -> None:
        before = list(peer.taken)

        async def leave() -> None:
            peer.events.put_nowait({'type': 'websocket.disconnect', 'code': 1006})
            await asyncio.wait_for(peer.task, PATIENCE_SECONDS)

        self.do(leave())
        self.peers.remove(peer)
        assert peer.taken == before
        assert self.disconnects[peer.ws.id] == 1

    @precondition(lambda self: self.any_open)
    @rule(data=st.data(), code=st.sampled_from([1000, 3403, 4000]))
    def kick(self, data: st.DataObject, code: int) -> None:
        peer = self.peer(data, is_open=True)
        self.do(self.manager.close_connection(peer.ws.id, code))
        peer.owed.append(code)
        peer.is_open = False
        self._check_taken()
        self._end(peer)

    # -- how it is with their servers

    @precondition(lambda self: self.any_open)
    @rule(data=st.data())
    def block(self, data: st.DataObject) -> None:
        self.peer(data, is_open=True).gate.clear()

    @precondition(lambda self: any(peer.is_owed for peer in self.peers))
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from([peer for peer in self.peers if peer.is_owed]))
        peer.gate.set()
        self.do(asyncio.sleep(0))

    @precondition(lambda self: any(p.is_open and not p.blocks for p in self.peers))
    @rule(data=st.data())
    def tear(self, data: st.DataObject) -> None:
        """Its server takes nothing more, and says so at the next send."""
        able = [peer for peer in self.peers if peer.is_open and not peer.blocks]
        data.draw(st.sampled_from(able)).error = ConnectionResetError('the peer has gone')

    # -- what they are in

    @precondition(lambda self: self.any_open)
    @rule(data=st.data(), room=st.sampled_from(ROOMS))
    def join(self, data: st.DataObject, room: str) -> None:
        peer = self.peer(data, is_open=True)
        self.do(self.manager.join_room(peer.ws.id, room))
        peer.rooms.add(room)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), room=st.sampled_from(ROOMS))
    def leave(self, data: st.DataObject, room: str) -> None:
        peer = self.peer(data)
        self.do(peer.ws.leave_room(room))
        peer.rooms.discard(room)

    @precondition(lambda self: self.any_open)
    @rule(data=st.data(), topic_filter=st.sampled_from(FILTERS))
    def subscribe(self, data: st.DataObject, topic_filter: str) -> None:
        peer = self.peer(data, is_open=True)
        self.do(peer.ws.subscribe(topic_filter))
        peer.filters.add(topic_filter)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), topic_filter=st.sampled_from(FILTERS))
    def unsubscribe(self, data: st.DataObject, topic_filter: str) -> None:
        peer = self.peer(data)
        self.do(self.manager.unsubscribe(peer.ws.id, topic_filter))
        peer.filters.discard(topic_filter)

    @precondition(lambda self: self.any_open)
    @rule(data=st.data(), user=st.none() | st.sampled_from(USERS))
    def identify(self, data: st.DataObject, user: str | None) -> None:
        peer = self.peer(data, is_open=True)
        self.do(self.manager.identify(peer.ws.id, user))
        peer.user = user

    # -- what is said

    @rule(data=st.data(), rooms=st.lists(st.sampled_from(ROOMS), min_size=1))
    def broadcast_to_rooms(self, data: st.DataObject, rooms: list[str]) -> None:
        excluded = data.draw(st.lists(st.sampled_from(self.peers))) if self.peers else []
        self.say(
            [peer for peer in self.peers if peer.rooms & set(rooms) and peer not in excluded],
            lambda text: self.manager.broadcast_to_room(
                rooms if len(rooms) > 1 else rooms[0], text, [peer.ws.id for peer in excluded]
            ),
        )

    @rule(times=st.integers(1, 4))
    def broadcast(self, times: int) -> None:
        self.say(list(self.peers), self.manager.broadcast, times)

    @rule(topic=st.sampled_from(TOPICS))
    def publish(self, topic: str) -> None:
        self.say(
            [peer for peer in self.peers if any(matches(each, topic) for each in peer.filters)],
            lambda text: self.manager.publish(topic, text),
        )

    @rule(user=st.sampled_from(USERS))
    def send_to_user(self, user: str) -> None:
        self.say(
            [peer for peer in self.peers if peer.user == user],
            lambda text: self.manager.send_to_user(user, text),
        )

    @precondition(lambda self: any(p.is_open and not p.error and not p.blocks for p in self.peers))
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """The client asks something: the reply comes behind what it was sent before."""
        able = [p for p in self.peers if p.is_open and not p.error and not p.blocks]
        peer = data.draw(st.sampled_from(able))
        self.number += 1
        message = f'{{"type":"echo","id":{self.number},"payload":[]}}'
        peer.events.put_nowait({'type': 'websocket.receive', 'text': message})
        self.do(asyncio.sleep(0))
        peer.owed.append(f'{{"type":"reply","id":{self.number},"payload":[]}}')

    # -- what holds

    @invariant()
    def _check_taken(self) -> None:
        for peer in self.peers:
            if peer.blocks:
                assert peer.taken == peer.owed[: len(peer.taken)]
            else:
                assert peer.taken == peer.owed

    @invariant()
    def _check_memberships(self) -> None:
        for peer in self.peers:
            assert (peer.ws.rooms, peer.ws.user_id) == (peer.rooms, peer.user)
            assert peer.ws.topic_filters == peer.filters
        stats = self.manager.stats()
        assert stats.connections == len(self.manager.connections) == len(self.peers)
        assert stats.connections_total == self.total
        assert stats.rooms == len(set().union(*(peer.rooms for peer in self.peers)))
        assert stats.topic_filters == len(set().union(*(peer.filters for peer in self.peers)))
        assert stats.users == len({peer.user for peer in self.peers} - {None})

    def teardown(self) -> None:
        try:
            for peer in list(self.peers):
                self._end(peer)
            self._check_memberships()
            stats = self.manager.stats()
            assert (stats.connections, stats.rooms, stats.users, stats.topic_filters) == (0,) * 4
            assert self.do(self.manager.get_room_names()) == []
            assert set(self.disconnects.values()) <= {1}
            assert len(self.disconnects) == self.total
            assert asyncio.all_tasks(self.loop) == set()
        finally:
            self.loop.close()
            self.silence.__exit__(None, None, None)


def test_a_crowd_gets_what_it_is_owed_once_and_in_order() -> None:
    run_state_machine_as_test(Crowd, settings=settings(examples(150), stateful_step_count=40))
