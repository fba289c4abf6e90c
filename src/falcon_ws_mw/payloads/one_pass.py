"""From text straight to typed payloads, by msgspec: no object stands between.

All messages of a route are one tagged union, so that a single pass over the text finds the type,
checks the payload and builds it. That is half of what it costs to build dicts and convert them
(`python -m benchmarks typed`). What it does not take is read again by those who can say why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import msgspec

from falcon_ws_mw.envelope import MAX_SAFE_INTEGER, Envelope, Incoming
from falcon_ws_mw.payloads.base import PayloadType

_Id = str | Annotated[int, msgspec.Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]

_NO_ID: Final = None
"""Not among the values of `_Id`: an id that is null is malformed, and left to those who say so."""

_new_tuple = tuple.__new__


def one_pass_reader(
    envelope: Envelope, types: Mapping[str, PayloadType | None]
) -> Callable[[str], Incoming] | None:
    """What reads the messages of a route in one pass.

    Args:
        envelope: Where type, payload and id stand.
        types: What the payload of each type of message is; `None` for anything.

    Returns:
        `None` in the flat form, whose payload is the message itself.
    """
    if envelope.payload_field is None:
        return None
    tags: dict[type, str] = {}
    for number, (name, payload_type) in enumerate(types.items()):
        tags[_shape(number, name, payload_type, envelope)] = name
    untyped = frozenset(name for name, payload_type in types.items() if payload_type is None)
    decode = msgspec.json.Decoder(_union_of(tags)).decode

    def read(text: str) -> Incoming:
        found = decode(text)
        message_type = tags[found.__class__]
        payload = found.payload
        if payload is None and message_type in untyped:
            payload = {}
        return _new_tuple(Incoming, (message_type, payload, found.id, None))

    return read


def _shape(number: int, name: str, payload_type: PayloadType | None, envelope: Envelope) -> type:
    """The Struct of one type of message."""
    annotation: Any = Any if payload_type is None else payload_type.annotation
    admits_null = payload_type is None or payload_type.admits_null
    fields: list[Any] = [('payload', annotation, None) if admits_null else ('payload', annotation)]
    rename = {'payload': envelope.payload_field or 'payload'}
    if envelope.id_field is not None:
        fields.append(('id', _Id, _NO_ID))
        rename['id'] = envelope.id_field
    return msgspec.defstruct(
        f'Message{number}',
        fields,
        tag_field=envelope.type_field,
        tag=name,
        rename=rename,
        namespace=None if envelope.id_field else {'id': None},
        gc=False,
    )


def _union_of(shapes: Mapping[type, str]) -> Any:
    union: Any = None
    for shape in shapes:
        union = shape if union is None else union | shape
    return union
