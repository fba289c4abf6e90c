"""Texts with a number in them, so that who gets a message knows which one it is."""

from __future__ import annotations

DIGITS = 8


def numbered(number: int, filler: str) -> str:
    """A text with a number; the filler has no `#`."""
    return f'#{number:0{DIGITS}}{filler}'


def number_in(data: bytes, start: int, end: int) -> int:
    """The number of the text in a message, `data[start:end]`."""
    mark = data.index(b'#', start, end) + 1
    return int(data[mark : mark + DIGITS])
