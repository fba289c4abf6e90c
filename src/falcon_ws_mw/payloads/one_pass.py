"""From text straight to typed payloads, by msgspec: no object stands between.

All messages of a route are one tagged union, so that a single pass over the text finds the type,
checks the payload and builds it. So a payload that is checked costs no more than one that is not
(`python -m benchmarks typed`). What it does not take is read again by those who can say why.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec

from falcon_ws_mw.envelope import MAX_SAFE_INTEGER, Envelope, Incoming
from falcon_ws_mw.payloads.base import PayloadLibrary, PayloadType

_Id = str | Annotated[int, msgspec.Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]

_NO_ID: Final = None
"""Not among the values of `_Id`: an id that is null is malformed, and left to those who say so."""

_new_tuple = tuple.__new__


def one_pass_reader(
    envelope: Envelope, types: Mapping[str, PayloadType | None], own: PayloadLibrary
) -> Callable[[str], Incoming] | None:
    """What reads the messages of a route in one pass.

    Args:
        envelope: Where type, payload and id stand.
        types: What the payload of each type of message is; `None` for anything.
        own: Whose payloads msgspec may build; those of others are read as they are, and converted.

    Returns:
        `None` in the flat form, whose payload is the message itself.
    """
    if envelope.payload_field is None:
        return None
    try:
        return _reader(envelope, types, own)
    except (TypeError, ValueError):  # say, a field's name that msgspec cannot write into an error
        return None


def _reader(
    envelope: Envelope, types: Mapping[str, PayloadType | None], own: PayloadLibrary
) -> Callable[[str], Incoming]:
    kinds: dict[type, tuple[str, Callable[[Any], Any] | None]] = {}
    for number, (name, payload_type) in enumerate(types.items()):
        builds = payload_type is not None and payload_type.library is own
        shape = _shape(number, name, payload_type if builds else None, envelope)
        kinds[shape] = (name, None if builds else _converting(payload_type))
    decode = msgspec.json.Decoder(_union_of(kinds, envelope, types)).decode

    def read(text: str) -> Incoming:
        found = decode(text)
        message_type, convert = kinds[found.__class__]
        payload = found.payload
        if convert is not None:
            payload = convert(payload)
        return _new_tuple(Incoming, (message_type, payload, found.id, None))

    return read


def _converting(payload_type: PayloadType | None) -> Callable[[Any], Any]:
    """What makes a payload of what msgspec has read as it is."""
    if payload_type is None:
        return lambda payload: {} if payload is None else payload
    convert, is_empty_object = payload_type.convert, payload_type.empty is not None
    if is_empty_object:
        return lambda payload: convert({} if payload is None else payload)
    return convert


def _shape(number: int, name: str, payload_type: PayloadType | None, envelope: Envelope) -> type:
    """The Struct of one type of message, whose payload is anything if no type is given."""
    annotation: Any = Any if payload_type is None else payload_type.annotation
    admits_null = payload_type is None or payload_type.admits_null
    fields: list[Any] = [('payload', annotation)]
    if admits_null:
        fields = [('payload', annotation, None)]
    elif payload_type is not None and _is_all_default(payload_type):
        convert, known = payload_type.convert, payload_type
        absent = msgspec.field(default_factory=lambda: convert(known.empty))
        fields = [('payload', annotation, absent)]
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


def _is_all_default(payload_type: PayloadType) -> bool:
    """Whether an absent payload, which is an empty object, fits."""
    try:
        payload_type.convert(payload_type.empty)
    except Exception:  # noqa: BLE001  # it does not
        return False
    return True


def _union_of(shapes: Iterable[type], envelope: Envelope, names: Container[str]) -> Any:
    """The union of the Structs and of nobody's: of a single one the tag would be optional."""
    free = '-'
    while free in names:
        free += '-'
    union: Any = msgspec.defstruct('Nobody', [], tag_field=envelope.type_field, tag=free, gc=False)
    for shape in shapes:
        union |= shape
    return union
