"""Reading what clients send: messages, their fields, and uploads.

What does not fit raises a `falcon.HTTPError`. Over HTTP that is the response. Raised out of an
`on_websocket` it ends the connection with 3000 + its status.
"""

import json
import struct
from typing import Any

import falcon
from falcon.media import BinaryBaseHandlerWS

MAX_TEXT_CHARS = 2_000

_UPLOAD_HEADER = struct.Struct('!I')


class RawBytes(BinaryBaseHandlerWS):
    """Lets `receive_media` return a binary frame as the `bytes` that it is."""

    def serialize(self, media: object) -> bytes:
        """Return bytes as they are, anything else as JSON."""
        return media if isinstance(media, bytes) else json.dumps(media).encode()

    def deserialize(self, payload: bytes) -> bytes:
        """Return the bytes."""
        return payload


def read_message(media: object) -> tuple[str, Any]:
    """Return the type and the payload of a message.

    Raises:
        falcon.HTTPBadRequest: It is none.
    """
    kind = media.get('type') if isinstance(media, dict) else None
    if not isinstance(media, dict) or not isinstance(kind, str):
        raise falcon.HTTPBadRequest(
            title='Not a message', description='A message is an object with a "type".'
        )
    return kind, media.get('payload') or {}


def read_upload(frame: bytes) -> tuple[int, bytes]:
    """Return the card that a file is for, and the file: four bytes, big-endian, then the rest.

    Raises:
        falcon.HTTPBadRequest: The frame is shorter than that.
    """
    if len(frame) <= _UPLOAD_HEADER.size:
        raise falcon.HTTPBadRequest(
            title='Not an upload', description='It is the number of a card and a file.'
        )
    (card,) = _UPLOAD_HEADER.unpack_from(frame)
    return card, frame[_UPLOAD_HEADER.size :]


def read_text(media: object, field: str) -> str:
    """Return the text in a field, without the white space around it.

    Raises:
        falcon.HTTPUnprocessableEntity: It is missing, no valid text, blank or too long.
    """
    value = media.get(field) if isinstance(media, dict) else None
    text = value.strip() if isinstance(value, str) else ''
    # JSON can spell half a surrogate pair ("\ud800"), but no text frame can carry it.
    if not 1 <= len(text) <= MAX_TEXT_CHARS or any('\ud800' <= mark <= '\udfff' for mark in text):
        raise falcon.HTTPUnprocessableEntity(
            title='Invalid field',
            description=f'"{field}" must be valid text of 1 to {MAX_TEXT_CHARS} characters.',
        )
    return text


def read_number(media: object, field: str) -> int:
    """Return the whole number in a field.

    Raises:
        falcon.HTTPUnprocessableEntity: It is missing or no whole number.
    """
    value = media.get(field) if isinstance(media, dict) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise falcon.HTTPUnprocessableEntity(
            title='Invalid field', description=f'"{field}" must be a whole number.'
        )
    return value
