"""falcon_ws_mw with Redis between the processes: the resources are the same."""

from __future__ import annotations

import os

from benchmarks.apps.limits import without_rates
from benchmarks.apps.ours import app_with
from benchmarks.redis_server import URL_VARIABLE

app = app_with(without_rates(), os.environ[URL_VARIABLE])
