r"""What clients send that they should not, and what becomes of it: a list, one line each.

A line has a name, what is sent, what is then seen, and where it goes. `test_bad_inputs` sends each
on a connection of its own, to each of uvicorn's implementations.

What is sent is one step or a tuple of them: text is a message in a frame of its own, bytes go out
as they are, `RESET` cuts the connection by an RST, `FIN` ends our half of it, and `PAUSE` lets the
server see what came so far. The handshake is done before, unless the path is `RAW`.

What is seen is told in words, in the order in which the server says it:

- `reply`, `error 400`: answers to requests, errors with their status; other messages by their type.
- `pong`: a frame of that kind. `pong x3` are three in a row, and so for all others.
- `alive`: the connection still answers a message that is right, and closes as it should.
- `close 1002`: a close frame, then the end. With its reason, that has to be right as well.
- `http 403`: a handshake that is refused. `end`: the connection ends without a word.
- `cut`: nothing, for it was we who cut the connection.
- `lingers`: the server keeps the connection for longer than the limit.
- `logs …`: a line at ERROR, one of `LINES`. Nothing else is logged so.

Protocol violations are the server's to answer, and servers differ: `By` says what each does. ` | `
stands between what is right alike: a request may or may not be answered before the end right after.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import partial
import struct
from typing import NamedTuple


class Act(Enum):
    """A step that sends nothing."""

    RESET = 'reset'
    FIN = 'fin'
    PAUSE = 'pause'


RESET, FIN, PAUSE = Act.RESET, Act.FIN, Act.PAUSE

Step = str | bytes | Act


class By(NamedTuple):
    """What is seen of each implementation."""

    sansio: str
    websockets: str
    wsproto: str


class Bad(NamedTuple):
    """A bad input, and what becomes of it."""

    name: str
    sent: Step | tuple[Step, ...]
    seen: str | By
    path: str = '/ws'


RAW = ''
"""Instead of a path: the handshake is among what is sent."""

HOST = 'chat.example'
"""By what name the server is asked, so that its own origin is known."""

Raw = partial(Bad, path=RAW)
Plain = partial(Bad, path='/plain')
Strict = partial(Bad, path='/strict/ws')
Topics = partial(Bad, path='/topics')
"""By where they go."""

KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
MASK = b'\x37\xfa\x21\x3d'


# -- what can be sent


def length_in(count: int, size: int) -> bytes:
    """How a frame declares its length in 2 or 8 bytes."""
    return (b'\x7e' if count == 2 else b'\x7f') + size.to_bytes(count, 'big')


def frame(
    opcode: int,
    payload: bytes = b'',
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    mask: bytes = MASK,
    length: bytes | None = None,
) -> bytes:
    """A frame (RFC 6455 §5.2), right or wrong; `length` replaces the bytes that declare it."""
    size = len(payload)
    if length is None:
        length = bytes([size]) if size < 126 else length_in(2 if size < 65_536 else 8, size)
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | length[0]]) + length[1:]
    if not masked:
        return head + payload
    key = (mask * (size // 4 + 1))[:size]
    hidden = int.from_bytes(payload, 'big') ^ int.from_bytes(key, 'big')
    return head + mask + hidden.to_bytes(size, 'big')


def close(code: int, reason: bytes = b'') -> bytes:
    return frame(8, struct.pack('!H', code) + reason)


def fragmented(*parts: bytes, between: bytes = b'', fin: bool = True) -> bytes:
    """One message in several frames."""
    last = len(parts) - 1 if fin else -1
    return between.join(
        frame(0 if number else 1, part, fin=number == last) for number, part in enumerate(parts)
    )


def ask(type: str, payload: str = 'null', id: str = '1') -> str:
    """A request, of JSON as it is given."""
    return f'{{"type":"{type}","id":{id},"payload":{payload}}}'


def many(count: int, type: str, payload: str) -> tuple[str, ...]:
    """Requests whose payloads have a number in the place of `{}`."""
    return tuple(ask(type, payload.replace('{}', str(number))) for number in range(count))


def filter_of(topic_filter: str) -> str:
    return f'{{"topic_filter":{topic_filter}}}'


def long_message(size: int, character: str = 'x') -> str:
    """A request of so many bytes."""
    padding = (size - len(ask('echo', '""'))) // len(character.encode())
    message = ask('echo', f'"{character * padding}"')
    return message + ' ' * (size - len(message.encode()))


def declaring(size: int) -> bytes:
    """The beginning of a text frame that declares to have so many bytes."""
    return frame(1, b'x' * 100, length=length_in(8, size))


def request(
    headers: Mapping[str, str | list[str] | None] | None = None,
    line: str = 'GET /ws HTTP/1.1',
) -> bytes:
    """An opening handshake; headers replace its own, `None` leaves one out, a list repeats it."""
    named: dict[str, str | list[str] | None] = {
        'Host': HOST,
        'Upgrade': 'websocket',
        'Connection': 'Upgrade',
        'Sec-WebSocket-Key': KEY,
        'Sec-WebSocket-Version': '13',
        **(headers or {}),
    }
    lines = [line]
    for name, given in named.items():
        values = given if isinstance(given, list) else [] if given is None else [given]
        lines += [f'{name}: {value}' for value in values]
    return '\r\n'.join([*lines, '', '']).encode('latin-1')


def websocket(name: str, value: str | list[str] | None) -> bytes:
    """An opening handshake in which a header of its own is another one."""
    return request({f'Sec-WebSocket-{name}': value})


def from_page(*origins: str) -> bytes:
    return request({'Origin': list(origins)})


def to(target: str) -> bytes:
    return request(line=f'GET {target} HTTP/1.1')


def pack(type: str) -> bytes:
    """A message in MessagePack without its end, the type."""
    return b'\x81\xa4type' + type.encode('latin-1')


PING = ask('ping').encode()
TLS = b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'
NO_ID = '{"type":"ping"}'
BEGUN = frame(1, b'{', fin=False)
FLOOD = tuple([ask('ping')] * 300)

# -- what is seen often

LINES = {
    'a refusal': 'uvicorn.error: ASGI callable returned without completing handshake.',
    'no UTF-8': 'uvicorn.error: Invalid UTF-8 sequence received from client.',
    'a failed handshake': 'uvicorn.error: opening handshake failed',
    'that there is no route': 'falcon: [FALCON] HTTPError <HTTPRouteNotFound: 404 Not Found>',
    'that there is no socket': 'falcon: [FALCON] HTTPError <HTTPMethodNotAllowed: 405 Method',
}
"""What may be logged at ERROR, and how it begins: lines of uvicorn's and of Falcon's."""


def refused(status: int) -> By:
    """A refusal by the library, of which one implementation says that it saw no accept."""
    return By(f'http {status}, logs a refusal', f'http {status}', f'http {status}')


FINE = 'reply, alive'
SILENT = 'alive'
MALFORMED = 'error 400, alive'
UNKNOWN = 'error 404, alive'
UNFIT = 'error 422, alive'
ONE_TOO_MANY = 'reply x128, error 429, alive'
TOO_BIG = 'close 1009 (messages have at most 65536 bytes)'
REFUSED = refused(403)
NO_ROUTE = 'http 403, logs that there is no route'
NO_SOCKET = 'http 403, logs that there is no socket'

# wsproto sends no close frame where a peer breaks the protocol, and knows no 1014.
VIOLATION = By('close 1002', 'close 1002', 'end')
ANSWER_OR_VIOLATION = By(*(f'{seen} | reply, {seen}' for seen in VIOLATION))
ANSWER_OR_CLOSE = 'close 1000 | reply, close 1000'
NO_UTF8 = By('close 1007, logs no UTF-8', 'close 1007', 'end')
NO_UTF8_IN_CLOSE = By('close 1007', 'close 1007', 'end')
AMONG_FRAGMENTS = By('close 1002', 'close 1000', 'close 1000')
CODE_1014 = By('close 1014', 'close 1014', 'end')
LONG_LENGTH = By('pong, alive', 'pong, alive', 'end')

# The server's own limit is 1 MiB here. wsproto counts what has come, not what is declared. Where
# much has come besides, `websockets` reads nothing more, and waits 10 s for the end to be read.
DECLARED_TOO_BIG = By('close 1009', 'close 1009', 'end')
LINGERING = By('close 1009', 'close 1009, lingers', 'close 1009')

# What its parser of handshakes does not take, `websockets-sansio` leaves without an answer.
UNREADABLE = By('end', 'http 400', 'end')
UNREADABLE_PATH = By('end', 'http 400', NO_ROUTE)

BAD_KEY = By('http 400', 'http 400', SILENT)
BAD_VERSION = By('http 400', 'http 400', 'http 426')
BAD_PROTOCOL = By('http 400', SILENT, SILENT)
BAD_HOST = By(SILENT, SILENT, 'http 400')
BAD_METHOD = By('http 405', 'http 400', 'http 400')
TWO_ORIGINS = By('http 400', 'http 403', 'http 403')
NO_ASCII = By('http 403, logs a refusal', 'http 500, logs a failed handshake', 'http 403')

FRAMES = [
    Bad('text without a mask', frame(1, PING, masked=False), VIOLATION),
    Bad('ping without a mask', frame(9, b'x', masked=False), VIOLATION),
    Bad('close without a mask', frame(8, masked=False), VIOLATION),
    Bad('rsv1 without compression', frame(1, PING, rsv=4), VIOLATION),
    Bad('rsv2', frame(1, PING, rsv=2), VIOLATION),
    Bad('rsv3', frame(1, PING, rsv=1), VIOLATION),
    Bad('all reserved bits', frame(1, PING, rsv=7), VIOLATION),
    Bad('rsv1 in a ping', frame(9, b'x', rsv=4), VIOLATION),
    Bad('opcode 3', frame(3, PING), VIOLATION),
    Bad('opcode 7', frame(7, PING), VIOLATION),
    Bad('opcode 11', frame(11, b'x'), VIOLATION),
    Bad('opcode 15', frame(15, b'x'), VIOLATION),
    Bad('continuation of nothing', frame(0, PING), VIOLATION),
    Bad('continuation of what is whole', frame(1, PING) + frame(0, PING), ANSWER_OR_VIOLATION),
    Bad('text inside text', BEGUN + frame(1, PING), VIOLATION),
    Bad('binary inside text', BEGUN + frame(2, PING), VIOLATION),
    Bad('ping in fragments', frame(9, b'x', fin=False), VIOLATION),
    Bad('pong in fragments', frame(10, b'x', fin=False), VIOLATION),
    Bad('close in fragments', frame(8, b'\x03\xe8', fin=False), VIOLATION),
    Bad('ping of 126 bytes', frame(9, b'x' * 126), VIOLATION),
    Bad('pong of 126 bytes', frame(10, b'x' * 126), VIOLATION),
    Bad('close of 126 bytes', close(1000, b'x' * 124), VIOLATION),
    Bad('ping of 70,000 bytes', frame(9, b'x' * 70_000), VIOLATION),
    Bad('a byte that is no UTF-8', frame(1, b'{"type":"\xff"}'), NO_UTF8),
    Bad('UTF-8 that is overlong', frame(1, b'\xc0\xaf'), NO_UTF8),
    Bad('UTF-8 of a surrogate', frame(1, b'\xed\xa0\x80'), NO_UTF8),
    Bad('UTF-8 beyond U+10FFFF', frame(1, b'\xf4\x90\x80\x80'), NO_UTF8),
    Bad('UTF-8 that breaks off', frame(1, b'"\xe2\x82'), NO_UTF8),
    Bad('no UTF-8 in the second fragment', fragmented(b'"', b'\xff"'), NO_UTF8),
    Bad('UTF-8 that breaks off in the last fragment', fragmented(b'"', b'\xe2\x82'), NO_UTF8),
    Bad('a character in two fragments', fragmented(b'"\xe2', b'\x82\xac"'), MALFORMED),
    Bad('no UTF-8 in binary', frame(2, b'\xff\xfe'), MALFORMED),
    Bad('a length of 2^63', (declaring(2**63), FIN), DECLARED_TOO_BIG),
    Bad('a length of 2^62', (declaring(2**62), FIN), DECLARED_TOO_BIG),
    Bad('a length of 1 MiB and a byte', (declaring(2**20 + 1), FIN), DECLARED_TOO_BIG),
    Bad('5 bytes by a length in 16 bits', frame(9, b'hello', length=length_in(2, 5)), LONG_LENGTH),
    Bad('5 bytes by a length in 64 bits', frame(9, b'hello', length=length_in(8, 5)), LONG_LENGTH),
    Bad('4 bytes by a length in 64 bits', frame(9, b'four', length=length_in(8, 4)), LONG_LENGTH),
    Bad('one byte of a frame, then RST', (b'\x81', PAUSE, RESET), 'cut'),
    Bad('half a length, then RST', (declaring(70_000)[:5], PAUSE, RESET), 'cut'),
    Bad('half a mask, then RST', (frame(1, PING)[:4], PAUSE, RESET), 'cut'),
    Bad('half a frame, then RST', (frame(1, PING)[:12], PAUSE, RESET), 'cut'),
    Bad('half of 60 KB, then RST', (frame(1, b'x' * 60_000)[:30_000], PAUSE, RESET), 'cut'),
    Bad('the first fragment, then RST', (BEGUN, PAUSE, RESET), 'cut'),
    Bad('one byte of a frame, then FIN', (b'\x81', PAUSE, FIN), 'end'),
    Bad('half a frame, then FIN', (frame(1, PING)[:12], PAUSE, FIN), 'end'),
    Bad('the first fragment, then FIN', (BEGUN, PAUSE, FIN), 'end'),
    Bad('300 pings', frame(9, b'x') * 300, 'pong x300, alive'),
    Bad('300 pings that say nothing', frame(9) * 300, 'pong x300, alive'),
    Bad('300 pongs that nobody asked for', frame(10, b'x') * 300, SILENT),
    Bad('a ping among fragments', fragmented(PING, b'', between=frame(9)), 'pong, reply, alive'),
    Bad('1000 fragments of nothing', fragmented(*[b''] * 1000, PING, b''), FINE),
    Bad('1000 fragments and no end', (fragmented(*[b''] * 1000, fin=False), PAUSE, RESET), 'cut'),
    Bad('a message in fragments of a byte', fragmented(*[bytes([byte]) for byte in PING]), FINE),
    Bad('fragments of 70,000 bytes in all', fragmented(*[b'x' * 7_000] * 10), TOO_BIG),
    Bad('fragments of over 1 MiB', fragmented(*[b'x' * 50_000] * 22), LINGERING),
    Bad('fragments of over 1 MiB, no end', fragmented(*[b'x' * 50_000] * 22, fin=False), LINGERING),
    Bad('empty text', frame(1), MALFORMED),
    Bad('empty binary', frame(2), MALFORMED),
    Bad('a message as binary', frame(2, PING), MALFORMED),
    Bad('fragments of nothing at all', fragmented(b'', b'', b''), MALFORMED),
    Bad('a mask of zeros', frame(1, PING, mask=b'\0\0\0\0'), FINE),
    Bad('HTTP instead of a frame', to('/ws'), VIOLATION),
    Bad('TLS instead of a frame', TLS, VIOLATION),
    Bad('zeros instead of a frame', b'\0' * 100, VIOLATION),
    Bad('ones instead of a frame', b'\xff' * 100, VIOLATION),
    Bad('a message, then a violation', (ask('ping'), frame(3)), ANSWER_OR_VIOLATION),
    Bad('300 messages at once', FLOOD, 'reply x300, alive'),
    Bad('300 messages at once, then RST', (*FLOOD, RESET), 'cut'),
]

JSON = [
    Bad('not JSON', 'not JSON', MALFORMED),
    Bad('a space', ' ', MALFORMED),
    Bad('half an object', '{"type":"pi', MALFORMED),
    Bad('an object that is not closed', '{"type":"ping"', MALFORMED),
    Bad('a bracket too many', '{"type":"ping"}}', MALFORMED),
    Bad('brackets that do not fit', '{"type":"ping"]', MALFORMED),
    Bad('two messages in a frame', '{"type":"ping"}{"type":"ping"}', MALFORMED),
    Bad('two messages in lines', '{"type":"ping"}\n{"type":"ping"}', MALFORMED),
    Bad('a trailing comma', '{"type":"ping",}', MALFORMED),
    Bad('a trailing comma in an array', ask('echo', '[1,]'), MALFORMED),
    Bad('a comment', '{"type":"ping"/* why */}', MALFORMED),
    Bad('a comment in a line', '{"type":"ping"}// why', MALFORMED),
    Bad('single quotes', "{'type':'ping'}", MALFORMED),
    Bad('a key without quotes', '{type:"ping"}', MALFORMED),
    Bad('Python', '{"type":"ping","payload":None}', MALFORMED),
    Bad('undefined', ask('echo', 'undefined'), MALFORMED),
    Bad('NaN', ask('echo', 'NaN'), MALFORMED),
    Bad('Infinity', ask('echo', 'Infinity'), MALFORMED),
    Bad('minus Infinity', ask('echo', '-Infinity'), MALFORMED),
    Bad('a number beyond floats', ask('echo', '1e400'), MALFORMED),
    Bad('a number too small for floats', ask('echo', '1e-400'), FINE),
    Plain('an int of 20 digits', ask('echo', '18446744073709551616'), FINE),
    Plain('an int of 300 digits', ask('echo', '9' * 300), FINE),
    Plain('an int of 400 digits', ask('echo', '9' * 400), MALFORMED),
    Bad('an int of 400 digits, read exactly', ask('echo', '9' * 400), FINE),
    Bad('an int of 65 bits, read exactly', ask('echo', '{"n":[18446744073709551616]}'), FINE),
    Bad('an int below 64 bits, read exactly', ask('echo', '-9223372036854775809'), FINE),
    Plain('an int of 60,000 digits', ask('echo', '9' * 60_000), MALFORMED),
    Bad('a fraction of 60,000 digits', ask('echo', '0.' + '9' * 60_000), FINE),
    Bad('a leading zero', ask('echo', '01'), MALFORMED),
    Bad('a plus', ask('echo', '+1'), MALFORMED),
    Bad('a number in hex', ask('echo', '0x10'), MALFORMED),
    Bad('a point without a fraction', ask('echo', '1.'), MALFORMED),
    Bad('a BOM', '\ufeff' + NO_ID, MALFORMED),
    Bad('NUL before a message', '\0' + NO_ID, MALFORMED),
    Bad('NUL after a message', NO_ID + '\0', MALFORMED),
    Bad('NUL in a text', ask('echo', '"\0"'), MALFORMED),
    Bad('NUL in a text, escaped', ask('echo', r'"\u0000"'), FINE),
    Bad('a line break in a text', ask('echo', '"a\nb"'), MALFORMED),
    Bad('an escape that is none', ask('echo', r'"\x41"'), MALFORMED),
    Bad('half an escape', ask('echo', r'"\u00"'), MALFORMED),
    Bad('a high surrogate', ask('echo', r'"\ud800"'), MALFORMED),
    Bad('a low surrogate', ask('echo', r'"\udc00"'), MALFORMED),
    Bad('surrogates the wrong way round', ask('echo', r'"\udc00\ud800"'), MALFORMED),
    Bad('a surrogate as a key', ask('echo', r'{"\ud800":1}'), MALFORMED),
    Bad('a no-break space', '\xa0' + NO_ID, MALFORMED),
    Bad('a character that is none', ask('echo', '"\uffff"'), FINE),
    Bad('letters that go right to left', ask('echo', '"\u202ekcits"'), FINE),
    Bad('XML', '<message type="ping"/>', MALFORMED),
    Bad('60,000 brackets', '[' * 60_000, MALFORMED),
    Bad('60,000 brackets that are closed', '[' * 30_000 + ']' * 30_000, MALFORMED),
    Bad('10,000 objects in each other', '{"a":' * 10_000 + '1' + '}' * 10_000, MALFORMED),
    Bad('32 levels', ask('echo', '[' * 31 + ']' * 31), FINE),
    Bad('33 levels', ask('echo', '[' * 32 + ']' * 32), MALFORMED),
    Bad('33 levels of objects', ask('echo', '{"a":' * 32 + '1' + '}' * 32), MALFORMED),
    Bad('33 levels for a type', ask('count', '[' * 32 + ']' * 32), MALFORMED),
    Bad('60,000 brackets in a text', ask('echo', '"' + '[' * 60_000 + '"'), FINE),
    Bad('30,000 numbers', ask('echo', '[0' + ',0' * 29_999 + ']'), FINE),
    Bad('30,000 quotes', '"' * 30_000, MALFORMED),
    Bad('30,000 backslashes', ask('echo', '"' + '\\' * 30_000 + '"'), FINE),
    Bad('5000 keys', ask('echo', '{' + ','.join(f'"{n}":0' for n in range(5_000)) + '}'), FINE),
    Bad('a key twice, of which the last counts', '{"type":"nope","type":"ping","id":1}', FINE),
    Bad('exactly 65,536 bytes', long_message(65_536), FINE),
    Bad('65,537 bytes', long_message(65_537), TOO_BIG),
    Bad('65,537 bytes in 21,852 characters', long_message(65_537, '€'), TOO_BIG),
    Bad('exactly 65,536 bytes in fewer characters', long_message(65_536, '€'), FINE),
    Bad('65,537 bytes of spaces', ' ' * 65_537, TOO_BIG),
    Bad('65,537 bytes of binary', frame(2, b'x' * 65_537), TOO_BIG),
    Bad('a message after one that is too long', (long_message(65_537), ask('ping')), TOO_BIG),
    Strict('refused: a key twice', ask('echo', '{"a":1,"a":2}'), MALFORMED),
    Strict('refused: a type twice', '{"type":"ping","type":"ping"}', MALFORMED),
    Strict('refused: a key twice, escaped', ask('echo', r'{"a":1,"\u0061":2}'), MALFORMED),
    Strict('refused: an int of 2^53', ask('echo', '9007199254740992'), MALFORMED),
    Strict('refused: an int of 60,000 digits', ask('echo', '9' * 60_000), MALFORMED),
    Strict('accepted: one key in two objects', ask('echo', '[{"a":1},{"a":2}]'), FINE),
    Strict('accepted: NaN', ask('echo', '[NaN, -Infinity]'), FINE),
    Strict('accepted: NaN, but not 1e400', ask('echo', '[NaN, 1e400]'), MALFORMED),
]

MESSAGEPACK = [
    Bad('MessagePack: a message that is right', frame(2, pack('\xa4ping')), SILENT),
    Bad('MessagePack: an array', frame(2, b'\x93\x01\x02\x03'), MALFORMED),
    Bad('MessagePack: a number', frame(2, b'\x05'), MALFORMED),
    Bad('MessagePack: a type of bytes', frame(2, pack('\xc4\4ping')), MALFORMED),
    Bad('MessagePack: a type that is nil', frame(2, pack('\xc0')), MALFORMED),
    Bad('MessagePack: an unknown type', frame(2, pack('\xa4nope')), UNKNOWN),
    Bad('MessagePack: half a message', frame(2, pack('\xa4pi')), MALFORMED),
    Bad('MessagePack: a byte too many', frame(2, pack('\xa4ping\xc0')), MALFORMED),
    Bad('MessagePack: text that is no UTF-8', frame(2, pack('\xa4\xff\xff\xff\xff')), MALFORMED),
    Bad('MessagePack: a code that is none', frame(2, b'\xc1'), MALFORMED),
    Bad('MessagePack: an extension', frame(2, b'\xd4\x05x'), MALFORMED),
    Bad('MessagePack: a time that is none', frame(2, b'\xc7\x0c\xff' + b'\xff' * 12), MALFORMED),
    Bad('MessagePack: an array that is not there', frame(2, b'\xdd\xff\xff\xff\xff'), MALFORMED),
    Bad('MessagePack: a map that is not there', frame(2, b'\xdf\xff\xff\xff\xff'), MALFORMED),
    Bad('MessagePack: bytes that are not there', frame(2, b'\xc6\xff\xff\xff\xff'), MALFORMED),
    Bad('MessagePack: 60,000 levels', frame(2, b'\x91' * 60_000), MALFORMED),
    Bad('MessagePack: 500 levels', frame(2, b'\x91' * 500 + b'\xc0'), MALFORMED),
    Bad('MessagePack: a key that is an array', frame(2, b'\x81\x90\xc0'), MALFORMED),
    Bad('MessagePack: a key that is NaN', frame(2, b'\x81\xcb\x7f\xf8\0\0\0\0\0\0\xc0'), MALFORMED),
]

ENVELOPES = [
    Bad('an array', '[1,2]', MALFORMED),
    Bad('an empty array', '[]', MALFORMED),
    Bad('a message in an array', f'[{NO_ID}]', MALFORMED),
    Bad('a number', '5', MALFORMED),
    Bad('a text', '"ping"', MALFORMED),
    Bad('an empty text in quotes', '""', MALFORMED),
    Bad('null', 'null', MALFORMED),
    Bad('true', 'true', MALFORMED),
    Bad('an empty object', '{}', MALFORMED),
    Bad('no type', '{"payload":1,"id":1}', MALFORMED),
    Bad('a type of null', '{"type":null}', MALFORMED),
    Bad('a type that is a number', '{"type":5}', MALFORMED),
    Bad('a type that is true', '{"type":true}', MALFORMED),
    Bad('a type that is an array', '{"type":["ping"]}', MALFORMED),
    Bad('a type that is an object', '{"type":{"type":"ping"}}', MALFORMED),
    Bad('a key in capitals', '{"Type":"ping"}', MALFORMED),
    Bad('a key with a space', '{"type ":"ping"}', MALFORMED),
    Bad('an id that is a float', ask('ping', id='1.5'), MALFORMED),
    Bad('an id that is a whole float', ask('ping', id='1.0'), MALFORMED),
    Bad('an id that is true', ask('ping', id='true'), MALFORMED),
    Bad('an id of null', ask('ping', id='null'), MALFORMED),
    Bad('an id that is an object', ask('ping', id='{}'), MALFORMED),
    Bad('an id that is an array', ask('ping', id='[1]'), MALFORMED),
    Bad('an id of 2^53', ask('ping', id='9007199254740992'), MALFORMED),
    Bad('an id of -2^53', ask('ping', id='-9007199254740992'), MALFORMED),
    Bad('an id of 2^53-1', ask('ping', id='9007199254740991'), FINE),
    Bad('an id of 2^64', ask('ping', id='18446744073709551616'), MALFORMED),
    Bad('an id of -0', ask('ping', id='-0'), FINE),
    Bad('an id that is empty', ask('ping', id='""'), FINE),
    Bad('an id of 60,000 characters', ask('ping', id='"' + 'x' * 60_000 + '"'), FINE),
    Bad('an id with NUL', ask('ping', id=r'"\u0000"'), FINE),
    Bad('an id with a surrogate', ask('ping', id=r'"\ud800"'), MALFORMED),
    Bad('an id for an unknown type', ask('nope', id='"x"'), UNKNOWN),
    Bad('fields that nobody knows', '{"type":"ping","id":1,"__proto__":{"x":1}}', FINE),
    Bad('no id', NO_ID, SILENT),
]

TYPES = [
    Bad('an unknown type', '{"type":"nope"}', UNKNOWN),
    Bad('an empty type', '{"type":""}', UNKNOWN),
    Bad('a type that is a space', '{"type":" "}', UNKNOWN),
    Bad('__class__', '{"type":"__class__"}', UNKNOWN),
    Bad('__init__', '{"type":"__init__"}', UNKNOWN),
    Bad('__dict__', '{"type":"__dict__"}', UNKNOWN),
    Bad('a path of attributes', '{"type":"ping.__globals__"}', UNKNOWN),
    Bad('the life-cycle: connect', '{"type":"connect"}', UNKNOWN),
    Bad('the life-cycle: disconnect', '{"type":"disconnect","payload":1000}', UNKNOWN),
    Bad('the life-cycle: unhandled', '{"type":"unhandled"}', UNKNOWN),
    Bad('a method by its name', '{"type":"on_ws_ping"}', UNKNOWN),
    Bad('a method of the life-cycle by its name', '{"type":"on_ws_connect"}', UNKNOWN),
    Bad('an HTTP method by its name', '{"type":"on_get"}', UNKNOWN),
    Bad('what is private', '{"type":"_secret"}', UNKNOWN),
    Bad('reply', '{"type":"reply"}', UNKNOWN),
    Bad('reply to what nobody asked', ask('reply', '5', id='1'), SILENT),
    Bad('error', '{"type":"error"}', UNKNOWN),
    Bad('error for what nobody asked', ask('error', '{"status":500}', id='1'), SILENT),
    Bad('subscribe where nobody can', ask('subscribe', '{"topic_filter":"#"}'), UNKNOWN),
    Bad('a type of 60,000 characters', ask('x' * 60_000), UNKNOWN),
    Bad('capitals', '{"type":"PING"}', UNKNOWN),
    Bad('a space after the type', '{"type":"ping "}', UNKNOWN),
    Bad('NUL after the type', r'{"type":"ping\u0000"}', UNKNOWN),
    Bad('a line break after the type', r'{"type":"ping\n"}', UNKNOWN),
    Bad('control characters', r'{"type":"\u001b[31mred\r\n\u0007"}', UNKNOWN),
    Bad('a wide letter, which NFKC makes narrow', '{"type":"\uff50ing"}', UNKNOWN),
    Bad('a letter that looks like another one', '{"type":"p\u0456ng"}', UNKNOWN),
    Bad('a joiner inside the type', '{"type":"pi\u200dng"}', UNKNOWN),
    Bad('a type with a surrogate', r'{"type":"\udc80"}', MALFORMED),
    Bad('a type that formats', '{"type":"%s%n{0.__class__}"}', UNKNOWN),
]

SONG = '{"title":"Blue","seconds":3}'

PAYLOADS = [
    Bad('int: text', ask('count', '"3"'), UNFIT),
    Bad('int: a float', ask('count', '3.5'), UNFIT),
    Bad('int: true', ask('count', 'true'), UNFIT),
    Bad('int: null', ask('count', 'null'), UNFIT),
    Bad('int: nothing', '{"type":"count","id":1}', UNFIT),
    Bad('int: an array', ask('count', '[3]'), UNFIT),
    Bad('int: 300 digits', ask('count', '9' * 300), FINE),
    Bad('int: not JSON', ask('count', 'three'), MALFORMED),
    Bad('dict: an array', ask('pick', '[]'), UNFIT),
    Bad('dict: text', ask('pick', '"{}"'), UNFIT),
    Bad('list[str]: one that is a number', ask('tags', '["a",1]'), UNFIT),
    Bad('list[str]: 10,000 that are', ask('tags', '[0' + ',0' * 9_999 + ']'), UNFIT),
    Bad('Struct: fits', ask('add', SONG), FINE),
    Bad('Struct: an empty object', ask('add', '{}'), UNFIT),
    Bad('Struct: a field is missing', ask('add', '{"title":"Blue"}'), UNFIT),
    Bad('Struct: a field is null', ask('add', '{"title":null,"seconds":3}'), UNFIT),
    Bad('Struct: a field is text', ask('add', '{"title":"Blue","seconds":"3"}'), UNFIT),
    Bad('Struct: a field is too small', ask('add', '{"title":"Blue","seconds":0}'), UNFIT),
    Bad('Struct: a field too many', ask('add', '{"title":"","seconds":3,"x":1}'), UNFIT),
    Bad('Struct: a field as a dunder', ask('add', '{"__class__":"x"}'), UNFIT),
    Bad('Struct: text that is one', ask('add', r'"{\"title\":\"Blue\",\"seconds\":3}"'), UNFIT),
    Bad('Struct: a surrogate', ask('add', r'{"title":"\ud800","seconds":3}'), MALFORMED),
    Bad('dataclass: an array', ask('book', '["Dune"]'), UNFIT),
    Bad('dataclass: a wrong field', ask('book', '{"title":1}'), UNFIT),
    Bad('model: an empty object', ask('card', '{}'), UNFIT),
    Bad('model: a wrong kind', ask('card', '{"number":{}}'), UNFIT),
    Bad('model: 60,000 characters that are wrong', ask('card', '"' + 'x' * 60_000 + '"'), UNFIT),
    Bad('union: none of them', ask('find', '{}'), UNFIT),
    Bad('date: of no calendar', ask('date', '"2026-02-30"'), UNFIT),
    Bad('what is wrong, and has no id', '{"type":"count"}', UNFIT),
]

ROOMS = [
    Bad('room: empty', ask('join', '""'), MALFORMED),
    Bad('room: null', ask('join', 'null'), MALFORMED),
    Bad('room: a number', ask('join', '5'), MALFORMED),
    Bad('room: an array of names', ask('join', '["control"]'), MALFORMED),
    Bad('room: an object', ask('join', '{"room":"control"}'), MALFORMED),
    Bad('room: 255 bytes', ask('join', '"' + 'x' * 255 + '"'), 'heard, reply, alive'),
    Bad('room: 256 bytes', ask('join', '"' + 'x' * 256 + '"'), MALFORMED),
    Bad('room: 256 bytes in 128 characters', ask('join', '"' + 'é' * 128 + '"'), MALFORMED),
    Bad('room: 60,000 characters', ask('join', '"' + 'x' * 60_000 + '"'), MALFORMED),
    Bad('room: a surrogate', ask('join', r'"\udfff"'), MALFORMED),
    Bad('room: a line break', ask('join', r'"control\n"'), 'heard, reply, alive'),
    Bad('room: NUL', ask('join', r'"control\u0000"'), 'heard, reply, alive'),
    Bad('room: a glob', ask('join', '"*"'), 'heard, reply, alive'),
    Bad('room: a glob of one', ask('join', '"contro?"'), 'heard, reply, alive'),
    Bad('room: a topic filter', ask('join', '"#"'), 'heard, reply, alive'),
    Bad('room: a path', ask('join', '"../control"'), 'heard, reply, alive'),
    Bad('room: a path to the same', ask('join', '"./control"'), 'heard, reply, alive'),
    Bad('room: capitals', ask('join', '"CONTROL"'), 'heard, reply, alive'),
    Bad('room: a wide letter', ask('join', '"\uff43ontrol"'), 'heard, reply, alive'),
    Bad('room: a prefix', ask('join', '"contro"'), 'heard, reply, alive'),
    Bad('room: Redis', ask('join', r'"x\r\nFLUSHALL\r\n"'), 'heard, reply, alive'),
    Bad('room: the 129th', many(129, 'enter', '"{}"'), ONE_TOO_MANY),
]


def subscribe(topic_filter: str) -> str:
    return ask('subscribe', filter_of(topic_filter))


TOPICS = [
    Topics('filter: + and more', subscribe('"sport+"'), MALFORMED),
    Topics('filter: more and +', subscribe('"+sport/x"'), MALFORMED),
    Topics('filter: # and a level', subscribe('"#/x"'), MALFORMED),
    Topics('filter: # and more', subscribe('"sport/#x"'), MALFORMED),
    Topics('filter: ##', subscribe('"##"'), MALFORMED),
    Topics('filter: empty', subscribe('""'), MALFORMED),
    Topics('filter: NUL', subscribe(r'"a\u0000b"'), MALFORMED),
    Topics('filter: a surrogate', subscribe(r'"\ud800"'), MALFORMED),
    Topics('filter: null', subscribe('null'), MALFORMED),
    Topics('filter: a number', subscribe('5'), MALFORMED),
    Topics('filter: an array', subscribe('["a"]'), MALFORMED),
    Topics('filter: none', ask('subscribe', '{}'), MALFORMED),
    Topics('filter: no payload', '{"type":"subscribe","id":1}', MALFORMED),
    Topics('filter: as the payload', ask('subscribe', '"a/b"'), MALFORMED),
    Topics('filter: 65,535 bytes', subscribe('"' + 'x' * 65_535 + '"'), FINE),
    Topics('filter: 65,536 bytes', subscribe('"' + 'x' * 65_536 + '"'), MALFORMED),
    Topics('filter: 30,000 levels', subscribe('"' + '/' * 30_000 + '"'), FINE),
    Topics('filter: 30,000 wildcards', subscribe('"+' + '/+' * 29_999 + '"'), FINE),
    Topics('filter: not for this client', subscribe('"secret/#"'), 'error 403, alive'),
    Topics('filter: the 129th', many(129, 'subscribe', filter_of('"{}"')), ONE_TOO_MANY),
    Topics('unsubscribe: what is no filter', ask('unsubscribe', filter_of('"a+"')), MALFORMED),
    Topics('unsubscribe: what it has not', ask('unsubscribe', filter_of('"a"')), FINE),
]

OWN, FOREIGN = f'http://{HOST}', 'http://evil.example'

ORIGINS = [
    Raw('origin: its own', from_page(OWN), SILENT),
    Raw('origin: foreign', from_page(FOREIGN), REFUSED),
    Raw('origin: null', from_page('null'), REFUSED),
    Raw('origin: empty', from_page(''), REFUSED),
    Raw('origin: another port', from_page('http://chat.example:8080'), REFUSED),
    Raw('origin: another scheme', from_page('https://chat.example'), REFUSED),
    Raw('origin: a scheme that is none', from_page('file://'), REFUSED),
    Raw('origin: a domain below', from_page('http://a.chat.example'), REFUSED),
    Raw('origin: a domain that begins alike', from_page('http://chat.example.evil'), REFUSED),
    Raw('origin: its own as a user', from_page('http://chat.example@evil.example'), REFUSED),
    Raw('origin: with a path', from_page('http://chat.example/'), REFUSED),
    Raw('origin: no scheme', from_page('chat.example'), REFUSED),
    Raw('origin: a star', from_page('*'), REFUSED),
    Raw('origin: 5000 characters', from_page('http://' + 'a.' * 2_500 + 'example'), REFUSED),
    Raw('origin: bytes beyond ASCII', from_page('http://chät.example'), NO_ASCII),
    Raw('origin: its own and a foreign one', from_page(OWN, FOREIGN), TWO_ORIGINS),
    Raw('origin: a foreign one and its own', from_page(FOREIGN, OWN), TWO_ORIGINS),
    Raw('origin: two in a line', from_page(f'{OWN} {FOREIGN}'), REFUSED),
]

HANDSHAKES = [
    Raw('handshake: no Upgrade', request({'Upgrade': None}), 'http 405'),
    Raw('handshake: Upgrade to something else', request({'Upgrade': 'h2c'}), 'http 405'),
    Raw('handshake: no Connection', request({'Connection': None}), 'http 405'),
    Raw('handshake: Connection stays', request({'Connection': 'keep-alive'}), 'http 405'),
    Raw('handshake: no version', websocket('Version', None), 'http 400'),
    Raw('handshake: version 8', websocket('Version', '8'), BAD_VERSION),
    Raw('handshake: a version that is no number', websocket('Version', 'x'), BAD_VERSION),
    Raw('handshake: no key', websocket('Key', None), 'http 400'),
    Raw('handshake: an empty key', websocket('Key', ''), BAD_KEY),
    Raw('handshake: a short key', websocket('Key', 'eA=='), BAD_KEY),
    Raw('handshake: a key that is no base64', websocket('Key', '%%%%'), BAD_KEY),
    Raw('handshake: two keys', websocket('Key', [KEY, KEY]), BAD_KEY),
    Raw('handshake: no Host', request({'Host': None}), BAD_HOST),
    Raw('handshake: two Hosts', request({'Host': [HOST, 'evil.example']}), BAD_HOST),
    Raw('handshake: HTTP/1.0', request(line='GET /ws HTTP/1.0'), SILENT),
    Raw('handshake: HTTP/9.9', request(line='GET /ws HTTP/9.9'), 'http 400'),
    Raw('handshake: POST', request(line='POST /ws HTTP/1.1'), BAD_METHOD),
    Raw('handshake: a method that is none', request(line='BREW /ws HTTP/1.1'), 'http 400'),
    Raw('handshake: no path', request(line='GET HTTP/1.1'), 'http 400'),
    Bad('handshake: an unknown path', (), NO_ROUTE, '/nowhere'),
    Bad('handshake: a route of HTTP only', (), NO_SOCKET, '/http'),
    Bad('handshake: a route with a suffix', (), NO_SOCKET, '/suffixed'),
    Bad('handshake: a path out of the app', (), NO_ROUTE, '/../../etc/passwd'),
    Bad('handshake: a path with NUL', (), NO_ROUTE, '/ws%00'),
    Bad('handshake: half a percent sign', (), NO_ROUTE, '/ws%'),
    Bad('handshake: a path that is no UTF-8', (), NO_ROUTE, '/%ff%fe'),
    Raw('handshake: a path beyond ASCII', to('/wß'), 'http 400'),
    Raw('handshake: a path of 60 KB', (to('/' + 'x' * 60_000), FIN), UNREADABLE_PATH),
    Raw('handshake: a query of 5000 characters', to('/ws?' + 'x' * 5_000), SILENT),
    Raw('handshake: a header of 100 KB', (request({'X-Long': 'x' * 100_000}), FIN), UNREADABLE),
    Raw('handshake: 1000 headers', (request({'X-Many': ['x'] * 1_000}), FIN), UNREADABLE),
    Raw('handshake: a header that is no name', request({'b a d': 'x'}), 'http 400'),
    Raw('handshake: a header with NUL', request({'X-Bad': 'a\0b'}), 'http 400'),
    Raw('handshake: a header in two lines', request({'X-Bad': 'a\r\n b'}), 'http 400'),
    Raw('handshake: a body', (request({'Content-Length': '5'}) + b'hello', FIN), 'end'),
    Raw('handshake: garbage', TLS, 'http 400'),
    Raw('handshake: a frame', frame(1, PING) + b'\r\n\r\n', 'http 400'),
    Raw('handshake: nothing, then RST', (PAUSE, RESET), 'cut'),
    Raw('handshake: nothing, then FIN', FIN, 'end'),
    Raw('handshake: half of it, then RST', (to('/ws')[:60], PAUSE, RESET), 'cut'),
    Raw('handshake: half of it, then FIN', (to('/ws')[:60], PAUSE, FIN), 'end'),
    Raw('handshake: all of it, then RST', (to('/ws'), RESET), 'cut'),
    Raw('handshake: all of it, then FIN', (to('/ws'), FIN), 'end'),
    Raw('handshake: twice', to('/ws') * 2, SILENT),
    Raw('handshake: and a message at once, which is lost', to('/ws') + frame(1, PING), SILENT),
    Raw('handshake: unknown subprotocols', websocket('Protocol', 'nope, none'), SILENT),
    Raw('handshake: an empty subprotocol', websocket('Protocol', ''), BAD_PROTOCOL),
    Raw('handshake: subprotocols that are none', websocket('Protocol', 'a b,,"'), BAD_PROTOCOL),
    Raw('handshake: 500 subprotocols', websocket('Protocol', ['x', ','.join('y' * 499)]), SILENT),
    Raw('handshake: unknown extensions', websocket('Extensions', 'x-evil; a=1'), SILENT),
    Raw('handshake: extensions that are none', websocket('Extensions', ';;;'), SILENT),
    Bad('handshake: one too many at once', (), refused(503), '/full/ws'),
    Bad('handshake: too soon after another one', (), refused(429), '/rated'),
    Bad('handshake: denied', (), refused(401), '/denied'),
]

CLOSES = [
    Bad('close: no code', frame(8), 'close 1005'),
    Bad('close: one byte', frame(8, b'\x03'), VIOLATION),
    Bad('close: 0', close(0), VIOLATION),
    Bad('close: 999', close(999), VIOLATION),
    Bad('close: 1004', close(1004), VIOLATION),
    Bad('close: 1005', close(1005), VIOLATION),
    Bad('close: 1006', close(1006), VIOLATION),
    Bad('close: 1015', close(1015), VIOLATION),
    Bad('close: 1016', close(1016), VIOLATION),
    Bad('close: 2999', close(2999), VIOLATION),
    Bad('close: 5000', close(5000), VIOLATION),
    Bad('close: 65535', close(65535), VIOLATION),
    Bad('close: 1001', close(1001), 'close 1001'),
    Bad('close: 1014', close(1014), CODE_1014),
    Bad('close: 3000', close(3000), 'close 3000'),
    Bad('close: 4999', close(4999), 'close 4999'),
    Bad('close: a reason of 123 bytes', close(1000, b'x' * 123), 'close 1000'),
    Bad('close: a reason that is no UTF-8', close(1000, b'\xff'), NO_UTF8_IN_CLOSE),
    Bad('close: a reason that breaks off', close(1000, b'\xe2\x82'), NO_UTF8_IN_CLOSE),
    Bad('close: a reason with control characters', close(4000, b'\x1b[31m\r\n\0'), 'close 4000'),
    Bad('close: twice', close(1000) * 2, 'close 1000'),
    Bad('close: and a message after it', close(1000) + frame(1, PING), 'close 1000'),
    Bad('close: and garbage after it', close(1000) + b'\xff' * 100, 'close 1000'),
    Bad('close: among fragments', BEGUN + close(1000), AMONG_FRAGMENTS),
    Bad('close: right after a request', (ask('ping'), close(1000)), ANSWER_OR_CLOSE),
    Bad('close: and RST', (close(1000), RESET), 'cut'),
    Bad('RST: at once', RESET, 'cut'),
    Bad('RST: right after a request', (ask('ping'), RESET), 'cut'),
    Bad('RST: in the middle of a long message', (frame(1, b'x' * 60_000)[:-1], RESET), 'cut'),
    Bad('FIN: at once', FIN, 'end'),
    Bad('FIN: right after a request', (ask('ping'), FIN), 'reply, end | end'),
]

BAD_INPUTS = [
    *FRAMES,
    *JSON,
    *MESSAGEPACK,
    *ENVELOPES,
    *TYPES,
    *PAYLOADS,
    *ROOMS,
    *TOPICS,
    *ORIGINS,
    *HANDSHAKES,
    *CLOSES,
]
