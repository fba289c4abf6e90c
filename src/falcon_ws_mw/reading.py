"""Ways to read a frame: fast for what is usual, thorough for what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging

from falcon_ws_mw.decoding import Depth
from falcon_ws_mw.envelope import DEFAULT_ENVELOPE, Envelope, Incoming
from falcon_ws_mw.media import Media
from falcon_ws_mw.payloads.base import PayloadType

logger = logging.getLogger('falcon_ws_mw')

Decode = Callable[[str | bytes], Incoming]
"""Reads a frame, or raises an `UnhandledMessage`."""

_new_tuple = tuple.__new__


def default_decode(media: Media, *, empty: bool) -> Decode:
    """Reads the default envelope.

    PERF: `Envelope.read` of what is right and no request, with no call between.

    Args:
        media: What reads objects.
        empty: Whether an absent payload, or null, is `{}`.
    """
    to_object, read, loads = media.decode, DEFAULT_ENVELOPE.read, media.loads
    short = media.depth.harmless_text if media.is_plain_orjson else -1

    def decode(raw: str | bytes) -> Incoming:
        if len(raw) <= short and type(raw) is str and '[' not in raw:
            try:
                message = loads(raw)
            except ValueError:
                message = to_object(raw)  # says what is wrong with it
        else:
            message = to_object(raw)
        if type(message) is dict and 'id' not in message:
            message_type = message.get('type')
            if type(message_type) is str:
                payload = message.get('payload')
                if payload is None and empty:
                    payload = {}
                return _new_tuple(Incoming, (message_type, payload, None, message))
        incoming = read(message)
        if incoming[1] is None and empty:
            return incoming._replace(payload={})
        return incoming

    return decode


def without_fields(
    read: Decode, envelope: Envelope, types: Mapping[str, PayloadType | None]
) -> Decode:
    """Leaves out of flat messages the type and the id where a payload's type is closed to them."""
    closed = {name: _closed_to(each, name, envelope) for name, each in types.items() if each}

    def decode(raw: str | bytes) -> Incoming:
        incoming = read(raw)
        unknown = closed.get(incoming[0])
        if not unknown or not isinstance(incoming[1], dict):
            return incoming
        payload = {key: value for key, value in incoming[1].items() if key not in unknown}
        return incoming._replace(payload=payload)

    return decode


def _closed_to(payload_type: PayloadType, name: str, envelope: Envelope) -> set[str]:
    """Which of the envelope's own fields a type does not take."""
    fields: list[tuple[str, str | int]] = [(envelope.type_field, name)]
    if envelope.id_field is not None:
        fields += [(envelope.id_field, 'id'), (envelope.id_field, 1)]
    found = set()
    for field, value in fields:
        alone = {field: value}
        try:
            payload_type.convert(alone)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is asked what is wrong
            pointer = '/' + field.replace('~', '~0').replace('/', '~1')
            if any(path == pointer for path, _ in payload_type.problems(error, alone)):
                found.add(field)
    return found


def complain(message_type: str, error: Exception) -> None:
    """Say that a type's own code is to blame, and not only the client."""
    if not isinstance(error, RecursionError):
        logger.error(
            'the payload of a %r could not be converted, for %s was raised; such payloads are '
            'answered with 422, and not logged again',
            message_type,
            type(error).__name__,
            exc_info=error,
        )


def first(fast: Callable[[str], Incoming], thorough: Decode, depth: Depth) -> Decode:
    """Reads text fast; whatever is unusual about it is left to what can say why.

    Args:
        fast: What reads text, of any depth.
        thorough: What reads all frames.
        depth: How deep they may nest: what is too deep is unusual.
    """
    characters, offset = depth.harmless_characters, depth.harmless_offset

    def decode(raw: str | bytes) -> Incoming:
        if isinstance(raw, str) and (
            len(raw) <= characters
            or ('[' not in raw and '{' not in raw[offset:])
            or not depth.is_too_deep(raw)
        ):
            try:
                return fast(raw)
            except Exception:  # noqa: BLE001, S110  # said below
                pass
        return thorough(raw)

    return decode
