"""Mutates frames towards code that no frame has reached: what reads them raises nothing else.

By atheris, which counts the branches of this library's own Python code: see README.md.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import sys
from tempfile import gettempdir
from typing import Any

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=['falcon_ws_mw']):
    import msgspec
    import orjson

    from falcon_ws_mw.codec import Codec
    from falcon_ws_mw.decoding import Decoding
    from falcon_ws_mw.envelope import Envelope, error_payload
    from falcon_ws_mw.errors import UnhandledMessage
    from falcon_ws_mw.media import Media
    from falcon_ws_mw.payloads import payload_type
    from falcon_ws_mw.payloads.base import PayloadType


class Song(msgspec.Struct):
    """A payload with fields of several kinds."""

    title: str
    seconds: int | float = 0
    tags: list[str] = []
    more: Any = None


class Chain(msgspec.Struct):
    """A payload that nests as deep as a client likes."""

    inner: Chain | None = None


TABLE: dict[str, PayloadType | None] = {
    'song': payload_type(Song),
    'chain': payload_type(Chain),
    'counts': payload_type(dict[str, int]),
    'any': None,
}

ENVELOPES = (
    Envelope(),
    Envelope(type_field='event', payload_field='data', id_field='ref'),
    Envelope(payload_field=None),
    Envelope(id_field=None),
)

DECODINGS = (
    Decoding(),
    Decoding(max_depth=3, duplicate_keys='refuse', integers='safe'),
    Decoding(max_depth=None, non_finite='accept'),
    Decoding(max_depth=1000, duplicate_keys='refuse', integers='safe', non_finite='accept'),
)

CODECS = [
    Codec(Media(load_binary=load_binary, decoding=decoding), envelope)
    for envelope in ENVELOPES
    for decoding in DECODINGS
    for load_binary in (None, json.loads)
]
DEFAULT = CODECS[0]

READERS: list[tuple[Codec, Callable[[str | bytes], Any]]] = [
    (codec, decode)
    for codec in CODECS
    for decode in (codec.decode, codec.decoder(TABLE), codec.decoder(TABLE, whole=False))
]


SEEDS = (
    '{"type":"song","payload":{"title":"Blue","seconds":1.5,"tags":["a"],"more":{"x":[]}},"id":1}',
    '{"type":"chain","payload":{"inner":{"inner":{"inner":null}}},"id":"a"}',
    '{"type":"counts","payload":{"a":9007199254740993,"b":18446744073709551616}}',
    '{"type":"any","payload":[[[[1]]],{"a":1,"\\u0061":2}],"id":0}',
    '{"type":"any","payload":[NaN,Infinity,-Infinity,-0,1e9,0.5]}',
    '{"event":"song","data":{"title":"Blue"},"ref":7}',
    '{"type":"song","title":"Blue","seconds":1,"id":2}',
    '{"type":"nobody","payload":"\\ud83d\\ude00 \\"[{","id":3}',
    '{"type":"any","payload":' + '[' * 40 + ']' * 40 + '}',
    '{"type":"any","payload":[' + ','.join(['{"a":[{}]}'] * 40) + ']}',
    '[]',
)
"""What the first mutations are made of, for each reader: valid JSON is hard to find by chance."""

WORDS = (
    *('{"type":"', '"payload":', '"id":', '{"event":"', '"data":', '"ref":', '"reply"', '"error"'),
    *(f'"{name}"' for name in TABLE),
    *('"title":', '"inner":{', '[[[[[[[[', ']]]]]]]]', '}}}}}}}}', '\\u0074', '\\ud800', '\\"'),
    *('NaN', '-Infinity', '9007199254740992', '18446744073709551616', '1e999'),
)
"""What mutations put in."""


def read_one(data: bytes) -> None:
    """Read what a client might have sent, in the way that the first byte says."""
    if not data:
        return
    codec, decode = READERS[data[0] // 2 % len(READERS)]
    is_binary = bool(data[0] % 2)
    frame: str | bytes = data[1:] if is_binary else data[1:].decode(errors='surrogateescape')
    try:
        incoming = decode(frame)
    except UnhandledMessage as error:
        codec.encode_answer(codec.error_type, error_payload(error.to_http_error()), error.id)
        return
    if decode == DEFAULT.decode and not is_binary:
        answer = DEFAULT.encode_answer('reply', incoming.payload, incoming.id)
        assert orjson.loads(answer['text'])['payload'] == incoming.payload
        assert orjson.loads(DEFAULT.encode(incoming.message)['text']) == incoming.message


def arguments() -> list[str]:
    """Those of the command line; if they name no file, a dictionary and a corpus besides."""
    if any(Path(argument).is_file() for argument in sys.argv[1:]):
        return sys.argv  # what was found is to be seen again
    made = Path(gettempdir()) / 'falcon-ws-mw-fuzz'
    escaped = [''.join(f'\\x{byte:02x}' for byte in word.encode()) for word in WORDS]
    corpus = made / 'corpus'
    corpus.mkdir(parents=True, exist_ok=True)
    (made / 'json.dict').write_text(''.join(f'"{word}"\n' for word in escaped))
    for first in range(2 * len(READERS)):
        for number, seed in enumerate(SEEDS):
            (corpus / f'{first}-{number}').write_bytes(bytes([first]) + seed.encode())
    return [*sys.argv, f'-dict={made / "json.dict"}', str(corpus)]


if __name__ == '__main__':
    atheris.Setup(arguments(), read_one)
    atheris.Fuzz()
