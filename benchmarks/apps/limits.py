"""The library's limits, with what would slow a load generator down switched off."""

from __future__ import annotations

import dataclasses

from falcon_ws_mw import Limits

RATES = {'messages_per_second', 'message_burst'}


def without_rates() -> Limits:
    """The default limits but for message rates, of which a load generator is above all."""
    knobs = {knob.name for knob in dataclasses.fields(Limits)}
    return Limits(**dict.fromkeys(knobs & RATES))


def with_rates() -> Limits:
    """Every limit there is, far above what a load generator does."""
    return Limits(
        messages_per_second=1_000_000,
        message_burst=1_000_000,
        handshakes_per_second=1_000_000,
        max_connections=1_000_000,
        max_connections_per_user=1_000_000,
        idle_timeout_seconds=3_600,
    )
