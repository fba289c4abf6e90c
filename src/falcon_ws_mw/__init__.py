"""A drop-in WebSocket layer for Falcon (ASGI): `app = install(app)`."""

from falcon_ws_mw.close_codes import CLOSE_CODES, CloseCode
from falcon_ws_mw.envelope import Message
from falcon_ws_mw.errors import (
    ConfigurationError,
    ConnectionNotFound,
    FalconWebSocketError,
    InvalidCloseCode,
    InvalidName,
    InvalidTopic,
    MalformedMessage,
    MessageTooBig,
    OutboxFull,
    UnhandledMessage,
    UnknownMessageType,
)
from falcon_ws_mw.hooks import after, before, dispatch
from falcon_ws_mw.lifespan import WebSocketLifespan, install
from falcon_ws_mw.manager import WebSocketConnectionManager
from falcon_ws_mw.middleware import WebSocketDispatchMiddleware
from falcon_ws_mw.options import Limits
from falcon_ws_mw.reports import DeliveryReport, ManagerStats, WorkerStats
from falcon_ws_mw.resource import WebSocketResource
from falcon_ws_mw.responders import handles_message
from falcon_ws_mw.topics import topic_matches
from falcon_ws_mw.websocket import WebSocket

__version__ = '0.1.0'

__all__ = [
    'CLOSE_CODES',
    'CloseCode',
    'ConfigurationError',
    'ConnectionNotFound',
    'DeliveryReport',
    'FalconWebSocketError',
    'InvalidCloseCode',
    'InvalidName',
    'InvalidTopic',
    'Limits',
    'MalformedMessage',
    'ManagerStats',
    'Message',
    'MessageTooBig',
    'OutboxFull',
    'UnhandledMessage',
    'UnknownMessageType',
    'WebSocket',
    'WebSocketConnectionManager',
    'WebSocketDispatchMiddleware',
    'WebSocketLifespan',
    'WebSocketResource',
    'WorkerStats',
    '__version__',
    'after',
    'before',
    'dispatch',
    'handles_message',
    'install',
    'topic_matches',
]
