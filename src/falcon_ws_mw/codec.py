"""Frame to message and back, by an envelope.

One that the app brings reads and makes its frames itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
from typing import Any, Final

from falcon_ws_mw import payloads
from falcon_ws_mw.envelope import (
    DEFAULT_ENVELOPE,
    AnyEnvelope,
    Envelope,
    Incoming,
    Message,
    MessageEnvelope,
    MessageId,
    Sendable,
    is_id,
    types_of_answers,
    wire_name,
)
from falcon_ws_mw.errors import (
    ConfigurationError,
    InvalidPayload,
    MalformedMessage,
    UnhandledMessage,
)
from falcon_ws_mw.frames import Frame, binary_frame, frame_of, text_frame
from falcon_ws_mw.media import Media
from falcon_ws_mw.payloads.base import NOT_CONVERTIBLE, PayloadType
from falcon_ws_mw.reading import Decode, complain, default_decode, first, without_fields

logger = logging.getLogger('falcon_ws_mw')

_new_tuple = tuple.__new__


class Codec:
    """Turns frames into messages and messages into frames, by one envelope.

    Args:
        media: What reads and makes objects (default: orjson, and no binary).
        envelope: Where type, payload and id stand in them.

    Attributes:
        media: The same.
        envelope: The same. Connections whose envelopes are equal speak one wire format.
        reply_type: The type of a reply.
        error_type: The type of an error.
        has_ids: Whether there are requests.
        decode: Reads a frame whose payload may be anything; absent or null it is `{}`. Raises
            `MalformedMessage`.
    """

    __slots__ = (
        '_decoders',
        '_envelope',
        '_is_default',
        'decode',
        'envelope',
        'error_type',
        'has_ids',
        'media',
        'reply_type',
    )

    def __init__(self, media: Media | None = None, envelope: Envelope = DEFAULT_ENVELOPE) -> None:
        self._envelope = envelope
        self._set_up(media or Media(), envelope)

    def _set_up(self, media: Media, envelope: AnyEnvelope) -> None:
        self.media = media
        self.envelope = envelope
        self._is_default = envelope == DEFAULT_ENVELOPE
        self.reply_type, self.error_type = types_of_answers(envelope)
        self.has_ids = not isinstance(envelope, Envelope) or envelope.id_field is not None
        self._decoders: dict[tuple[int, bool], tuple[object, Decode]] = {}
        self.decode: Decode = self._untyped()

    def speaking(self, envelope: AnyEnvelope) -> Codec:
        """The same for another envelope."""
        if isinstance(envelope, Envelope):
            return Codec(self.media, envelope)
        return OwnCodec(self.media, envelope)

    # -- in

    def read(self, raw: str | bytes) -> Incoming:
        """Read a frame; an absent payload, or null, is `None`.

        Raises:
            MalformedMessage: Whatever is wrong with it.
        """
        return self._envelope.read(self.media.decode(raw))

    def decoder(self, types: Mapping[str, PayloadType | None], *, whole: bool = True) -> Decode:
        """What reads the frames of a route: made once for each table, at its first connection.

        Args:
            types: What the payload of each type of message is; `None` for anything.
            whole: Whether the decoded message is asked for, beside its payload.

        Returns:
            A function that raises `MalformedMessage`, or `InvalidPayload` where the payload of a
            message does not fit.
        """
        key = (id(types), whole)
        known = self._decoders.get(key)
        if known is None:
            decode = self.decode
            if any(types.values()):
                decode = self._typed(types)
                fast = None if whole else self._in_one_pass(types)
                decode = decode if fast is None else first(fast, decode, self.media.depth)
            known = self._decoders[key] = (types, decode)
        return known[1]

    def _untyped(self) -> Decode:
        if self._is_default:
            return default_decode(self.media, empty=True)

        def decode(raw: str | bytes) -> Incoming:
            incoming = self.read(raw)
            return incoming if incoming[1] is not None else incoming._replace(payload={})

        return decode

    def _typed(self, types: Mapping[str, PayloadType | None]) -> Decode:
        read: Decode = self.read
        if self._is_default:
            read = default_decode(self.media, empty=False)
        elif isinstance(self.envelope, Envelope) and self.envelope.payload_field is None:
            read = without_fields(read, self.envelope, types)

        complained: set[str] = set()

        def decode(raw: str | bytes) -> Incoming:
            message_type, payload, message_id, message = read(raw)
            payload_type = types.get(message_type)
            if payload is None:
                payload = {} if payload_type is None else payload_type.empty
            if payload_type is not None:
                try:
                    payload = payload_type.convert(payload)
                except Exception as error:
                    problems = payload_type.problems(error, payload)
                    if problems == [NOT_CONVERTIBLE] and message_type not in complained:
                        complained.add(message_type)
                        complain(message_type, error)
                    raise InvalidPayload(
                        message_type, problems, id=message_id, original=error
                    ) from error
            return _new_tuple(Incoming, (message_type, payload, message_id, message))

        return decode

    def _in_one_pass(
        self, types: Mapping[str, PayloadType | None]
    ) -> Callable[[str], Incoming] | None:
        """What goes from text to typed payload at once, where their library can."""
        libraries = dict.fromkeys(each.library for each in types.values() if each is not None)
        if not self.media.is_plain_orjson:
            return None
        readers = (each.one_pass(self._envelope, types) for each in libraries)
        return next((reader for reader in readers if reader is not None), None)

    # -- out

    def encode(self, message: Sendable) -> Frame:
        """Make the frame of something to be sent.

        Raises:
            TypeError: If it is nothing that can be sent, or cannot be JSON.
            ValueError: If text has no UTF-8 form (a lone surrogate).
        """
        if isinstance(message, str):
            return text_frame(message)
        if isinstance(message, (bytes, bytearray, memoryview)):
            return binary_frame(message)
        if isinstance(message, Message):
            return self.encode_message(message.type, message.payload)
        if isinstance(message, Mapping):
            return self.media.encode(message if isinstance(message, dict) else dict(message))
        if payloads.is_typed(message):
            return self.media.encode(message)
        raise TypeError(
            f'cannot send {type(message).__name__}: expected a dict, str, bytes, a Message, or a '
            'dataclass, msgspec.Struct or pydantic model'
        )

    def encode_object(self, media: object, *, binary: bool = False) -> Frame:
        """Make the frame of an object, as text or, where it can be, as binary."""
        return self.media.encode(media, binary=binary)

    def encode_message(self, type: str, payload: Any, id: MessageId | None = None) -> Frame:
        """Make the frame of a message.

        Raises:
            TypeError: If it cannot be encoded, or in the flat form is no mapping.
        """
        if id is None and self._is_default:  # PERF: what `wrap` makes of it, with no call between
            return self.media.text_frame({'type': type, 'payload': payload})
        if self._envelope.payload_field is None:
            payload = payloads.plain(payload)
        return self.media.text_frame(self._envelope.wrap(type, payload, id))

    def encode_answer(
        self, type: str, payload: Any, id: MessageId | None, *, binary: bool = False
    ) -> Frame:
        """Make the frame of a reply or an error, as binary where that is asked for and known."""
        return self.media.encode(self._envelope.wrap_answer(type, payload, id), binary=binary)


class OwnCodec(Codec):
    """The same by an envelope that the app brings.

    Args:
        media: What reads and makes other objects that are sent.
        envelope: The envelope.
    """

    __slots__ = ('_complained', '_own')

    def __init__(self, media: Media, envelope: MessageEnvelope) -> None:
        self._own = envelope
        self._complained = False
        self._set_up(media, envelope)

    def read(self, raw: str | bytes) -> Incoming:
        """Read a frame; what the envelope raises that is not ours is its bug, said once."""
        try:
            message_type, payload, message_id = self._own.decode(raw)
            given: object = message_type
            if not isinstance(given, str):
                raise TypeError(f'decode returned the type {message_type!r:.50}: expected text')
            if message_id is not None and not is_id(message_id):
                raise MalformedMessage('the id is neither text nor a whole number within ±(2⁵³-1)')
            if len(raw) > self.media.depth.harmless_bytes:
                self.media.depth.check(payload, message_id)
        except UnhandledMessage:
            raise
        except Exception as error:
            if not self._complained:
                self._complained = True
                logger.exception(
                    '%s.decode has to raise MalformedMessage for what it cannot read; such frames '
                    'are malformed, and not logged again',
                    type(self._own).__qualname__,
                )
            raise MalformedMessage('the frame cannot be read', decoded=False) from error
        whole = {'type': message_type, 'payload': payload, 'id': message_id}
        return _new_tuple(Incoming, (message_type, payload, message_id, whole))

    def _in_one_pass(self, types: Mapping[str, PayloadType | None]) -> None:
        return None

    def encode_message(self, type: str, payload: Any, id: MessageId | None = None) -> Frame:
        """Make the frame of a message; the envelope says whether it is text or binary.

        Raises:
            TypeError: If the envelope makes something else of it.
        """
        made = self._own.encode(type, payloads.plain(payload), id)
        if not isinstance(made, (str, bytes, bytearray, memoryview)):
            raise TypeError(f'{self._own!r}.encode returned {made!r:.50}: expected str or bytes')
        return frame_of(made)

    def encode_answer(
        self, type: str, payload: Any, id: MessageId | None, *, binary: bool = False
    ) -> Frame:
        """Make the frame of a reply or an error."""
        return self.encode_message(type, payload, id)


class Codecs:
    """The codecs of an app, one for each envelope that is spoken.

    Args:
        media: What reads and makes objects.
        envelope: What is spoken where nothing else is said.
        check_sends: Whether what is sent is checked against what is declared.

    Attributes:
        default: The codec of that.
        check_sends: The same.
    """

    __slots__ = ('_by_envelope', 'check_sends', 'default')

    def __init__(
        self,
        media: Media | None = None,
        envelope: AnyEnvelope = DEFAULT_ENVELOPE,
        *,
        check_sends: bool = False,
    ) -> None:
        self.check_sends = check_sends
        self._by_envelope: dict[object, Codec] = {}
        self.default = Codec(media).speaking(envelope)
        self._by_envelope[_key(envelope)] = self.default

    @property
    def are_many(self) -> bool:
        """Whether there may be connections that are spoken to differently."""
        return len(self._by_envelope) > 1 or self.check_sends

    def speaking(self, envelope: AnyEnvelope) -> Codec:
        """The codec of an envelope."""
        codec = self._by_envelope.get(_key(envelope))
        if codec is None:
            codec = self._by_envelope[_key(envelope)] = self.default.speaking(envelope)
        return codec

    def by_wire_name(self) -> dict[str, Codec]:
        """The codecs that have been asked for, by what other processes call their envelopes.

        Raises:
            ConfigurationError: If two of the app's own have one name.
        """
        by_name: dict[str, Codec] = {}
        for codec in self._by_envelope.values():
            name = wire_name(codec.envelope)
            if by_name.setdefault(name, codec).envelope != codec.envelope:
                raise ConfigurationError(
                    f'two envelopes are called {name!r}, which other processes cannot tell apart: '
                    'give each a `wire_name`, or make them equal'
                )
        return by_name


def _key(envelope: AnyEnvelope) -> object:
    """What is the same for envelopes of one wire format; an app's own need not be hashable."""
    return envelope if isinstance(envelope, Envelope) else id(envelope)


DEFAULT_CODEC: Final = Codec()
"""What is spoken where nobody says anything."""
