"""The library's limits, with what would slow a load generator down switched off."""

from __future__ import annotations

import dataclasses

from falcon_ws_mw import Limits

RATES = {'messages_per_second', 'message_burst'}


def without_rates() -> Limits:
    """The default limits but for message rates, of which a load generator is above all."""
    knobs = {knob.name for knob in dataclasses.fields(Limits)}
    return Limits(**dict.fromkeys(knobs & RATES))
