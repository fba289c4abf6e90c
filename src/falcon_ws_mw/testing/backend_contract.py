"""The conformance suite of backends: `LAWS` hold a backend to what `Backend` promises.

A law is a coroutine function. It takes a function that makes a backend, not started, which is
linked with all others that it makes; it returns if the law is kept, and raises `AssertionError`
with what was promised and what was found. With pytest and pytest-asyncio:

    import pytest
    from falcon_ws_mw.testing.backend_contract import LAWS

    @pytest.mark.parametrize('law', LAWS, ids=lambda law: law.__name__)
    async def test_my_backend_keeps(law):
        await law(lambda: MyBackend(url))

The engine behind it has to be there, and to be used by nobody else meanwhile: some laws look at
everything that is held. What a backend does while its engine is away needs an engine that can be
taken away, so no law is about that.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from falcon_ws_mw.testing import delivery, holding, life
from falcon_ws_mw.testing.nodes import PATIENCE_SECONDS, Make, Recorder

__all__ = ['LAWS', 'PATIENCE_SECONDS', 'Law', 'Make', 'Recorder']

Law = Callable[[Make], Coroutine[Any, Any, None]]
"""Raises `AssertionError` if it is not kept."""

LAWS: Final[tuple[Law, ...]] = (*delivery.LAWS, *holding.LAWS, *life.LAWS)
"""All of them."""
