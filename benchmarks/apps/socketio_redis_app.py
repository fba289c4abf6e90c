"""python-socketio with Redis between the processes."""

from __future__ import annotations

import os

import socketio

from benchmarks.apps.socketio_app import app_with
from benchmarks.redis_server import URL_VARIABLE

app = app_with(socketio.AsyncRedisManager(os.environ[URL_VARIABLE]))
