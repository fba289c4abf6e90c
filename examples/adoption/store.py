"""The boards and their cards, in the memory of this process."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
import hashlib
from itertools import count
from typing import Any

import falcon

COLUMNS = ('todo', 'doing', 'done')


@dataclass(slots=True)
class Card:
    """A card; files are remembered by their size and digest only."""

    number: int
    title: str
    author: str
    column: str = COLUMNS[0]
    comments: list[dict[str, str]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


class Cards:
    """The cards of one board. What is returned is ready to be JSON."""

    def __init__(self) -> None:
        self._cards: dict[int, Card] = {}
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._cards)

    def list(self) -> list[dict[str, Any]]:
        """Return all cards, the oldest first."""
        return [asdict(card) for card in self._cards.values()]

    def show(self, number: int) -> dict[str, Any]:
        """Return one card."""
        return asdict(self._find(number))

    def add(self, title: str, author: str) -> dict[str, Any]:
        """Add a card in the first column."""
        card = Card(next(self._numbers), title, author)
        self._cards[card.number] = card
        return asdict(card)

    def rename(self, number: int, title: str) -> dict[str, Any]:
        """Give a card another title."""
        card = self._find(number)
        card.title = title
        return asdict(card)

    def move(self, number: int, column: str) -> dict[str, Any]:
        """Put a card into another column.

        Raises:
            falcon.HTTPConflict: There is no such column.
        """
        card = self._find(number)
        if column not in COLUMNS:
            raise falcon.HTTPConflict(
                title='No such column', description=f'There are {", ".join(COLUMNS)}.'
            )
        card.column = column
        return asdict(card)

    def comment(self, number: int, author: str, text: str) -> dict[str, Any]:
        """Add a comment, and return it."""
        comment = {'author': author, 'text': text}
        self._find(number).comments.append(comment)
        return {'card': number, **comment}

    def attach(self, number: int, data: bytes) -> dict[str, Any]:
        """Add a file, and return what is remembered of it."""
        file = {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
        self._find(number).files.append(file)
        return {'card': number, **file}

    def delete(self, number: int) -> dict[str, Any]:
        """Remove a card, and return what it was."""
        card = self._find(number)
        del self._cards[number]
        return asdict(card)

    def _find(self, number: int) -> Card:
        card = self._cards.get(number)
        if card is None:
            raise falcon.HTTPNotFound(title='No such card', description=f'Number {number}.')
        return card


class Boards:
    """The boards, by name.

    Args:
        names: What there is.
    """

    def __init__(self, names: Iterable[str] = ('kitchen', 'garden')) -> None:
        self._boards = {name: Cards() for name in names}

    def __getitem__(self, name: str) -> Cards:
        """Return the cards of a board.

        Raises:
            falcon.HTTPNotFound: There is no such board.
        """
        cards = self._boards.get(name)
        if cards is None:
            raise falcon.HTTPNotFound(title='No such board')
        return cards

    def count_cards(self) -> dict[str, int]:
        """Return how many cards there are on each board."""
        return {name: len(cards) for name, cards in self._boards.items()}
