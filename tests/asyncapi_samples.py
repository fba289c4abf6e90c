"""Contracts for tests of the AsyncAPI document: of each thing that may stand in one, one."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pydantic

from falcon_ws_mw.contract import ChannelContract, MessageContract
from falcon_ws_mw.envelope import Envelope
from falcon_ws_mw.options import Limits, RouteSettings
from falcon_ws_mw.payloads import payload_type
from falcon_ws_mw.payloads.base import PayloadType


class Text(msgspec.Struct, tag='text', forbid_unknown_fields=True):
    """What somebody wrote."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2000, description='The words.')]
    mentions: list[str] = []


class Picture(msgspec.Struct, tag='picture'):
    """A picture that was uploaded before."""

    url: Annotated[str, msgspec.Meta(pattern=r'^https://(?P<host>[^/]+)/', description='Where.')]
    size: tuple[int, int] = (0, 0)


class Line(msgspec.Struct, kw_only=True):
    """One line of a conversation."""

    number: Annotated[int, msgspec.Meta(ge=1, description='Counts up within the room.')]
    author: str
    said: Text | Picture
    at: datetime
    replies: list[Line] = []
    reactions: dict[str, int] = {}
    pinned_by: str | None = None


class Seat(pydantic.BaseModel):
    """A seat in the hall."""

    model_config = pydantic.ConfigDict(extra='forbid')

    row: int = pydantic.Field(ge=1, le=40, description='Counted from the stage.')
    kind: Literal['stalls', 'balcony'] = 'stalls'

    @pydantic.computed_field(description='As it stands on the ticket.')  # type: ignore[prop-decorator]
    @property
    def label(self) -> str:
        return f'{self.kind} {self.row}'


class Booking(pydantic.BaseModel):
    """Seats for one evening."""

    show: UUID
    seats: list[Seat] = pydantic.Field(min_length=1, max_length=8)
    corner: tuple[float, str] | None = None
    companion: Booking | None = pydantic.Field(None, description='Who <b>comes</b> along.')
    position: Annotated[Seat, pydantic.Field(description='Beside a reference.')] | None = None


class ByCard(pydantic.BaseModel):
    how: Literal['card']
    number: str = pydantic.Field(pattern=r'^(?i)[0-9]{16}$')


class ByInvoice(pydantic.BaseModel):
    how: Literal['invoice']
    address: str


class Payment(pydantic.BaseModel):
    by: Annotated[ByCard | ByInvoice, pydantic.Field(discriminator='how')]


@dataclass
class Asked:
    """A question to the client."""

    question: str
    choices: list[str] = field(default_factory=list)


class Settings(msgspec.Struct):
    """Nothing of it has to be said."""

    loud: bool = True


class MessagePack:
    """An envelope that cannot describe itself."""

    content_type = 'application/msgpack'

    def decode(self, raw: str | bytes) -> tuple[str, Any, str | int | None]:
        raise NotImplementedError

    def encode(self, type: str, payload: Any, id: str | int | None) -> bytes:
        raise NotImplementedError


class JSONRPC(MessagePack):
    """An envelope that can."""

    content_type = 'application/json'

    def describe(
        self, type: str, payload: dict[str, Any] | None, *, id: Literal['never', 'maybe', 'always']
    ) -> dict[str, Any]:
        params: dict[str, Any] = {} if payload is None else payload
        if type == 'reply':
            body: dict[str, Any] = {'result': params}
        elif type == 'error':
            body = {'error': params}
        else:
            body = {'method': {'const': type}, 'params': params}
        ids = {} if id == 'never' else {'id': {'type': ['string', 'integer']}}
        return {
            'type': 'object',
            'properties': {'jsonrpc': {'const': '2.0'}, **body, **ids},
            'required': ['jsonrpc', *body, *(ids if id == 'always' else ())],
        }


def type_of(annotation: Any) -> PayloadType:
    return payload_type(annotation)


def message(type: str, **facts: Any) -> MessageContract:
    for name in ('payload', 'reply'):
        if name in facts:
            facts[name] = type_of(facts[name])
    return MessageContract(type=type, **facts)


def channel(address: str, **facts: Any) -> ChannelContract:
    facts.setdefault('resource', 'app.Room')
    settings = facts.setdefault('settings', RouteSettings())
    facts.setdefault('envelopes', {None: settings.envelope})
    return ChannelContract(address=address, **facts)


CHAT = channel(
    '/ws/chat/{room_name}',
    resource='chat.ChatRoom',
    summary='Talk in a room.',
    description='Whoever is let in hears it all.\n\n- be kind\n- <script>alert(1)</script>',
    fields={'room_name': None},
    receives=(
        message(
            'clientSendMessage',
            payload=Text | Picture,
            reply=Line,
            is_request=True,
            summary='Say something to the room.',
            description='Answered with the line as it was stored; see `serverNewMessage`.',
        ),
        message('clientTyping', summary='Somebody types. <script>alert(2)</script>'),
        message('chat.message', payload=Line),
        message('a b', payload=dict[str, Any]),
        message('/x', payload=list[int]),
        message('Größe "§" <i>', payload=str | None),
        message('聊天'),
        message('信息', payload=bool, reply=type(None), is_request=True),
    ),
    sends=(
        message('serverNewMessage', payload=Line, summary='Somebody said something.'),
        message('chat.message', payload=Line),
        message('serverBye'),
        message(
            'serverAsk',
            payload=Asked,
            reply=Literal['yes', 'no'],
            is_request=True,
            summary='The server wants to know something.',
        ),
        message('a.b', payload=int),
    ),
    envelopes={'falcon-ws.v1': Envelope(), None: Envelope()},
    settings=RouteSettings(limits=Limits(max_outbox_bytes=65_536), client_topics=True),
    is_adopted=True,
)

BOOKING = channel(
    '/ws/booking/{show_id}',
    resource='booking.make.<locals>.BookingDesk',
    fields={'show_id': 'uuid'},
    receives=(
        message('book', payload=Booking, reply=Booking, is_request=True, summary='Book seats.'),
        message('pay', payload=Payment, summary='Pay for what is booked.'),
        message('chat.message', payload=Seat),
    ),
    sends=(message('soldOut', payload=Seat),),
    settings=RouteSettings(envelope=Envelope(type_field='event', id_field='re/q~')),
    takes_any=True,
)

FLAT = channel(
    '/ws/flat/{x}-{y}/{rest}',
    resource='app.Flat',
    fields={'x': None, 'y': 'int', 'rest': 'path'},
    receives=(
        message('say', payload=Text),
        message('any'),
        message('either', payload=Text | Picture, reply=Text, is_request=True),
    ),
    sends=(message('said', payload=Text),),
    settings=RouteSettings(envelope=Envelope(payload_field=None, type_field='kind')),
)

NO_REQUESTS = channel(
    '/ws/plain',
    resource='app.Plain',
    receives=(message('say', payload=Text),),
    sends=(message('ask', is_request=True, reply=str),),
    settings=RouteSettings(envelope=Envelope(id_field=None)),
)

RPC = channel(
    '/rpc',
    resource='app.Calculator',
    receives=(
        message('add', payload=list[float], reply=float, is_request=True),
        message('forget', payload=Text),
    ),
    sends=(message('overflow', payload=Text), message('sure?', reply=bool, is_request=True)),
    envelopes={'jsonrpc': JSONRPC(), 'msgpack': MessagePack(), None: MessagePack()},
)

PACKED = channel(
    '/packed',
    resource='app.Packed',
    receives=(message('add', payload=list[int], reply=int, is_request=True), message('rest')),
    sends=(message('sum', payload=int),),
    envelopes={None: MessagePack()},
)

EMPTY = channel('/', resource='app.Nothing')

RICH = (CHAT, BOOKING, FLAT, NO_REQUESTS, RPC, PACKED, EMPTY)

ABOUT: dict[str, Any] = {
    'title': 'Chat & booking',
    'version': '1.4.0',
    'description': 'Everything that this app says.\n\nTwo paragraphs, and `code`.',
    'servers': {
        'production': {'host': 'chat.example.com', 'protocol': 'wss', 'description': 'The one.'},
        'local': {'host': 'localhost:8000', 'protocol': 'ws', 'pathname': '/app', 'security': []},
    },
    'security_schemes': {
        'session': {'type': 'httpApiKey', 'in': 'cookie', 'name': 'session'},
        'token': {'type': 'http', 'scheme': 'bearer'},
    },
}
