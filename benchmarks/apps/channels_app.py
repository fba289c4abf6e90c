"""Django Channels: groups on the layer in memory."""

from __future__ import annotations

from benchmarks.apps.channels_consumers import app_on

app = app_on('channels.layers.InMemoryChannelLayer')
