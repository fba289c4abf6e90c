"""Django Channels: groups on the layer of channels_redis that publishes and subscribes."""

from __future__ import annotations

import os

from benchmarks.apps.channels_consumers import app_on
from benchmarks.redis_server import URL_VARIABLE

app = app_on('channels_redis.pubsub.RedisPubSubChannelLayer', hosts=[os.environ[URL_VARIABLE]])
