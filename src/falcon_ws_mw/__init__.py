"""A drop-in WebSocket layer for Falcon (ASGI): `app = install(app)`."""

from falcon_ws_mw.close_codes import CLOSE_CODES, CloseCode
from falcon_ws_mw.decoding import Decoding
from falcon_ws_mw.emitter import AsyncEmitter, Emitter
from falcon_ws_mw.envelope import Envelope, Message, MessageEnvelope
from falcon_ws_mw.errors import (
    BackendUnavailable,
    ConfigurationError,
    ConnectionNotFound,
    FalconWebSocketError,
    IdentityExpired,
    InvalidCloseCode,
    InvalidName,
    InvalidPayload,
    InvalidTopic,
    MalformedMessage,
    MessageTooBig,
    NotIdentified,
    OutboxFull,
    RemoteCallError,
    ReplyError,
    ReplyTimeout,
    TooManyConnections,
    TooManyRequests,
    TooManyRooms,
    UndeclaredMessage,
    UnhandledMessage,
    UnknownMessageType,
    WireFormatMismatch,
)
from falcon_ws_mw.hooks import after, before, dispatch
from falcon_ws_mw.installation import install
from falcon_ws_mw.lifespan import WebSocketLifespan
from falcon_ws_mw.manager import WebSocketConnectionManager
from falcon_ws_mw.middleware import WebSocketDispatchMiddleware
from falcon_ws_mw.options import Limits
from falcon_ws_mw.reports import BackendHealth, DeliveryReport, Gap, ManagerStats, WorkerStats
from falcon_ws_mw.resource import WebSocketResource
from falcon_ws_mw.responders import handles_message, parallel
from falcon_ws_mw.sends import sends
from falcon_ws_mw.tokens import TokenMiddleware, bearer_subprotocol
from falcon_ws_mw.topics import topic_matches
from falcon_ws_mw.websocket import WebSocket

__version__ = '0.1.0'

__all__ = [
    'CLOSE_CODES',
    'AsyncEmitter',
    'BackendHealth',
    'BackendUnavailable',
    'CloseCode',
    'ConfigurationError',
    'ConnectionNotFound',
    'Decoding',
    'DeliveryReport',
    'Emitter',
    'Envelope',
    'FalconWebSocketError',
    'Gap',
    'IdentityExpired',
    'InvalidCloseCode',
    'InvalidName',
    'InvalidPayload',
    'InvalidTopic',
    'Limits',
    'MalformedMessage',
    'ManagerStats',
    'Message',
    'MessageEnvelope',
    'MessageTooBig',
    'NotIdentified',
    'OutboxFull',
    'RemoteCallError',
    'ReplyError',
    'ReplyTimeout',
    'TokenMiddleware',
    'TooManyConnections',
    'TooManyRequests',
    'TooManyRooms',
    'UndeclaredMessage',
    'UnhandledMessage',
    'UnknownMessageType',
    'WebSocket',
    'WebSocketConnectionManager',
    'WebSocketDispatchMiddleware',
    'WebSocketLifespan',
    'WebSocketResource',
    'WireFormatMismatch',
    'WorkerStats',
    '__version__',
    'after',
    'bearer_subprotocol',
    'before',
    'dispatch',
    'handles_message',
    'install',
    'parallel',
    'sends',
    'topic_matches',
]
