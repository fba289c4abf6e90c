"""What carries messages between processes, chosen by the scheme of a URL."""

from __future__ import annotations

from falcon_ws_mw.backends.base import Backend, Guarantee, Receiver
from falcon_ws_mw.backends.memory import MemoryBackend
from falcon_ws_mw.backends.opening import open_backend, register_backend
from falcon_ws_mw.channels import COUNTED_KINDS, Channel, Kind
from falcon_ws_mw.reports import BackendHealth, Gap

__all__ = [
    'COUNTED_KINDS',
    'Backend',
    'BackendHealth',
    'Channel',
    'Gap',
    'Guarantee',
    'Kind',
    'MemoryBackend',
    'Receiver',
    'open_backend',
    'register_backend',
]
