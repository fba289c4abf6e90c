"""What this process was asked, and what it has answered: so that it does nothing twice.

A question is put again while it is unanswered: it may have been lost, or its answer. Whoever has
done it says the same once more. That is remembered within bounds: a long answer is forgotten first,
then that there was the question. The numbers of whoever asks rise, so one that is no higher than a
forgotten one may have been done, and is not done again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import orjson

MAX_QUESTIONS: Final = 16_384
"""How many are remembered that were answered: some 350 bytes each. One whose answer was lost comes
again after seconds, and by then some thousands may have been answered. By number and not by time,
since no time is long enough: whoever stood still for an hour goes on with what it was about."""

MAX_BYTES: Final = 4 * 1024 * 1024
"""How long the answers to them may be together. The last one is kept in any case."""

MAX_ORIGINS: Final = 4_096
"""Of how many processes it is known up to which number their questions are forgotten."""


class Answer(NamedTuple):
    """What came of a question.

    Attributes:
        kind: Whether it is a result or an error.
        said: Which, as JSON.
    """

    kind: Literal['result', 'error']
    said: bytes

    def facts(self, number: int) -> Mapping[str, Any]:
        """The same as it is said to whoever has asked.

        Args:
            number: The number of the question.
        """
        return {'id': number, self.kind: orjson.Fragment(self.said)}


FORGOTTEN: Final = Answer(
    'error', b'["BackendUnavailable",["it may have been done, but nobody remembers there"]]'
)
"""The answer to what may have been done."""

_Key = tuple[str, int]


class Answers:
    """Questions to this process, by who has asked and the number that he gave.

    Args:
        max_questions: How many are remembered that were answered.
        max_bytes: How long the answers to them may be together.
    """

    __slots__ = (
        '_bytes',
        '_forgotten',
        '_given',
        '_kept',
        '_max_bytes',
        '_max_questions',
        '_open',
        '_order',
    )

    def __init__(self, max_questions: int = MAX_QUESTIONS, max_bytes: int = MAX_BYTES) -> None:
        self._max_questions = max_questions
        self._max_bytes = max_bytes
        self._open: set[_Key] = set()
        self._given: dict[_Key, Answer | None] = {}
        self._order: deque[_Key] = deque()
        self._kept: deque[_Key] = deque()  # those of them whose answers are known yet
        self._bytes = 0
        self._forgotten: OrderedDict[str, int] = OrderedDict()

    def is_new(self, origin: str, number: int) -> bool:
        """Whether a question is to be done. From now on it is being done."""
        key = (origin, number)
        if key in self._open or key in self._given or number <= self._forgotten.get(origin, 0):
            return False
        self._open.add(key)
        return True

    def of(self, origin: str, number: int) -> Answer | None:
        """The answer to a question that is not new; `None` while there is none yet."""
        key = (origin, number)
        return None if key in self._open else self._given.get(key) or FORGOTTEN

    def put(self, origin: str, number: int, answer: Answer) -> None:
        """A question is answered."""
        self._kept.append((origin, number))
        self._bytes += len(answer.said)
        self._close((origin, number), answer)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            self._drop_oldest()

    def abandon(self) -> None:
        """What is being done will not be answered. It may have been done in part."""
        for key in sorted(self._open):
            self._close(key, None)

    def _close(self, key: _Key, answer: Answer | None) -> None:
        self._open.discard(key)
        self._given[key] = answer
        self._order.append(key)
        if len(self._order) > self._max_questions:
            oldest = self._order.popleft()
            if self._given[oldest] is not None:
                self._drop_oldest()
            del self._given[oldest]
            self._forget(*oldest)

    def _drop_oldest(self) -> None:
        key = self._kept.popleft()
        answer, self._given[key] = self._given[key], None
        if answer is not None:
            self._bytes -= len(answer.said)

    def _forget(self, origin: str, number: int) -> None:
        self._forgotten[origin] = max(number, self._forgotten.get(origin, 0))
        self._forgotten.move_to_end(origin)
        if len(self._forgotten) > MAX_ORIGINS:
            self._forgotten.popitem(last=False)
