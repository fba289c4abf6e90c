"""The sensors of a site: what they measure goes, as it is, to all who watch the site."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import datetime
import sys
from typing import Annotated

import falcon
import msgspec

from falcon_ws_mw import Message, WebSocket, sends

from .envelope import MessagePackEnvelope

MAX_SENSORS = 1_000
SAMPLE_BYTES = 2

SensorName = Annotated[str, msgspec.Meta(pattern=r'^[\w-]{1,32}$')]


@dataclass(frozen=True)
class Reading:
    """What a sensor has measured.

    Attributes:
        sensor: Its name.
        at: When the first sample was taken.
        samples: Signed numbers of 16 bits, little-endian. In JSON they would be Base64, a third
            longer, or a list of decimals.
    """

    sensor: SensorName
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    samples: Annotated[bytes, msgspec.Meta(min_length=SAMPLE_BYTES, max_length=32_768)]


@dataclass(frozen=True)
class Summary:
    """What the server has made of a reading."""

    samples: int
    peak: int


@sends('reading', Reading, description='A sensor of the site has measured something.')
class Sensors:
    """The sensors of a site, and those who watch them."""

    ws_envelope = MessagePackEnvelope()

    def __init__(self) -> None:
        self._latest: dict[tuple[str, str], Reading] = {}

    async def on_ws_watch(self, ws: WebSocket, site: str) -> list[Reading]:
        """Get the latest reading of each sensor, and every further one from now on."""
        await ws.join_room(_room(site))
        return [reading for (where, _), reading in self._latest.items() if where == site]

    async def on_ws_reading(self, ws: WebSocket, payload: Reading, site: str) -> Summary:
        """Take a reading, and pass it on.

        Raises:
            falcon.HTTPUnprocessableEntity: There is half a sample at the end.
            falcon.HTTPConflict: There are too many sensors.
        """
        if len(payload.samples) % SAMPLE_BYTES:
            raise falcon.HTTPUnprocessableEntity(description='A sample has two bytes.')
        key = (site, payload.sensor)
        if key not in self._latest and len(self._latest) >= MAX_SENSORS:
            raise falcon.HTTPConflict(description=f'There are {MAX_SENSORS} sensors.')
        self._latest[key] = payload
        await ws.broadcast_to_room(_room(site), Message('reading', payload), exclude_self=True)
        return _summary(payload.samples)


def _summary(samples: bytes) -> Summary:
    numbers = array('h', samples)
    if sys.byteorder == 'big':
        numbers.byteswap()
    return Summary(len(numbers), max(map(abs, numbers)))


def _room(site: str) -> str:
    return f'site:{site}'
