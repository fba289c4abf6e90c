"""Django Channels: groups on the layer of channels_redis that keeps messages in Redis."""

from __future__ import annotations

import os

from benchmarks.apps.channels_consumers import app_on
from benchmarks.redis_server import URL_VARIABLE

# redis-py gives up after 5 s since 8.0, as long as the layer lets Redis wait for a message: who
# hears nothing for so long would be disconnected (django/channels_redis#422).
host = {'address': os.environ[URL_VARIABLE], 'socket_timeout': None}
app = app_on('channels_redis.core.RedisChannelLayer', hosts=[host])
