"""How many examples the tests make that make examples."""

from __future__ import annotations

import os
from typing import Final

SHARE: Final = 5 if os.environ.get('FEW_EXAMPLES') else 1
"""`FEW_EXAMPLES=1`: a fifth, as on each further Python. They are others each time all the same."""


def some(count: int) -> int:
    """So many, or a share of them."""
    return max(1, count // SHARE)
