"""HTML in which text is only ever text: what is not marked as markup is escaped.

Whatever a docstring says, a page made by these functions shows it and does not run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
import json
import re
from typing import Any, Final


class Markup(str):
    """Text that is HTML. Only functions of this file make it."""

    __slots__ = ()


_VOID: Final = frozenset({'input', 'link', 'meta', 'wbr'})


def tag(name: str, /, *children: str, **attributes: str | bool) -> Markup:
    """An element.

    Args:
        name: Its name.
        children: What is inside of it; text is escaped.
        attributes: Its attributes. `class_` is `class`, `data_type` is `data-type`; one that is
            `False` or `''` is left out, one that is `True` has no value.
    """
    opening = name + ''.join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f'<{opening}>')
    return Markup(f'<{opening}>{joined(children)}</{name}>')


def _attribute(key: str, value: str | bool) -> str:
    if value is False or value == '':
        return ''
    key = key.rstrip('_').replace('_', '-')
    return f' {key}' if value is True else f' {key}="{escape(str(value))}"'


def joined(children: Iterable[str]) -> Markup:
    """Several things one after the other; text is escaped."""
    return Markup(
        ''.join(child if isinstance(child, Markup) else escape(child) for child in children)
    )


def page(head: Iterable[str], body: Iterable[str]) -> Markup:
    """A whole HTML document in English."""
    document = tag('html', tag('head', *head), tag('body', *body), lang='en')
    return Markup(f'<!doctype html>\n{document}\n')


def prose(text: str) -> Markup:
    """Plain text with the little of CommonMark that docstrings use.

    Args:
        text: Paragraphs, lists of `- `, and `code` between backquotes; anything else is text.
    """
    return joined(_block(block) for block in re.split(r'\n\s*\n', text.strip()) if block)


def _block(block: str) -> Markup:
    lines = [line.strip() for line in block.splitlines()]
    if not re.match(r'[-*] ', lines[0]):
        return tag('p', inline('\n'.join(lines)))
    items: list[str] = []
    for line in lines:
        if re.match(r'[-*] ', line):
            items.append(line[2:])
        else:
            items[-1] += f' {line}'
    return tag('ul', *(tag('li', inline(item)) for item in items))


def inline(text: str) -> Markup:
    """One line of text, in which `code` may stand between backquotes."""
    parts = re.split(r'(``.+?``|`[^`]+`)', text)
    return joined(
        tag('code', part.strip('`')) if number % 2 else part for number, part in enumerate(parts)
    )


def breakable(text: str) -> Markup:
    """A name that may be broken where a new part of it begins, for narrow screens."""
    parts: list[str] = ['']
    for char in text:
        parts[-1] += char
        if char in '/._-:':
            parts += [tag('wbr'), '']
    return joined(parts)


def json_markup(value: Any) -> Markup:
    """Decoded JSON, indented, each kind of value in a class of its own."""
    return joined(_json_parts(value, '\n'))


def _json_parts(value: Any, indent: str) -> Iterator[str]:
    if not value or not isinstance(value, (dict, list)):
        kind = 's' if isinstance(value, str) else 'n'
        yield tag('span', json.dumps(value, ensure_ascii=False, default=str), class_=kind)
        return
    is_object = isinstance(value, dict)
    deeper = f'{indent}  '
    yield '{' if is_object else '['
    for number, key in enumerate(value):
        yield (',' if number else '') + deeper
        if is_object:
            yield tag('span', json.dumps(key, ensure_ascii=False), class_='k')
            yield ': '
        yield from _json_parts(value[key] if is_object else key, deeper)
    yield indent + ('}' if is_object else ']')
