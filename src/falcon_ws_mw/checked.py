"""A codec that lets nothing out which its route does not declare: for tests and debug mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from falcon_ws_mw import payloads
from falcon_ws_mw.codec import Codec
from falcon_ws_mw.envelope import EXPIRING, Envelope, Incoming, Message, MessageId, Sendable
from falcon_ws_mw.frames import Frame
from falcon_ws_mw.payloads.base import PayloadType
from falcon_ws_mw.reading import Decode
from falcon_ws_mw.sends import Declared, check_sent


class CheckedCodec(Codec):
    """Speaks as another codec does, and checks what is sent.

    Args:
        codec: The other one.
        resource: The resource's class, for errors.
        declared: What it declares that it sends.
    """

    __slots__ = ('_codec', '_declared', '_resource')

    def __init__(self, codec: Codec, resource: str, declared: Mapping[str, Declared]) -> None:
        self._codec = codec
        self._declared = declared
        self._resource = resource
        self._set_up(codec.media, codec.envelope)

    def _untyped(self) -> Decode:
        return self._codec.decode

    def read(self, raw: str | bytes) -> Incoming:
        """Read a frame."""
        return self._codec.read(raw)

    def decoder(self, types: Mapping[str, PayloadType | None], *, whole: bool = True) -> Decode:
        """What reads the frames of a route."""
        return self._codec.decoder(types, whole=whole)

    def encode(self, message: Sendable) -> Frame:
        """Make the frame of something that is declared.

        Raises:
            UndeclaredMessage: If it is not.
        """
        if isinstance(message, Message):
            return self.encode_message(message.type, message.payload)
        self._check_object(message)
        return self._codec.encode(message)

    def encode_object(self, media: object, *, binary: bool = False) -> Frame:
        """Make the frame of an object that is declared, if it is a message.

        Raises:
            UndeclaredMessage: If it is not.
        """
        self._check_object(media)
        return self._codec.encode_object(media, binary=binary)

    def encode_message(self, type: str, payload: Any, id: MessageId | None = None) -> Frame:
        """Make the frame of a message that is declared.

        Raises:
            UndeclaredMessage: If it is not.
        """
        if type != EXPIRING:  # the library's own word, on whatever route
            check_sent(self._declared, self._resource, type, payload)
        return self._codec.encode_message(type, payload, id)

    def encode_answer(
        self, type: str, payload: Any, id: MessageId | None, *, binary: bool = False
    ) -> Frame:
        """Make the frame of a reply or an error, which need not be declared."""
        return self._codec.encode_answer(type, payload, id, binary=binary)

    def _check_object(self, media: object) -> None:
        """Check what is said as it is, if it has the form of a message."""
        envelope = self.envelope
        message = payloads.plain(media) if payloads.is_typed(media) else media
        if not isinstance(envelope, Envelope) or not isinstance(message, Mapping):
            return
        message_type = message.get(envelope.type_field)
        if isinstance(message_type, str):
            flat = envelope.payload_field is None
            payload = message if flat else message.get(str(envelope.payload_field))
            check_sent(self._declared, self._resource, message_type, payload)
