"""An AsyncAPI document as a page to read: one HTML file, made without anything from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from falcon_ws_mw.asyncapi.examples import example_of
from falcon_ws_mw.asyncapi.markup import (
    Markup,
    breakable,
    inline,
    joined,
    json_markup,
    page,
    prose,
    tag,
)
from falcon_ws_mw.asyncapi.rows import Row, Rows
from falcon_ws_mw.asyncapi.wire import OWN_SCHEMAS

_TO_SERVER: Final = 'client → server'
_TO_CLIENT: Final = 'server → client'

_OURS: Final = frozenset({OWN_SCHEMAS + 'Error', OWN_SCHEMAS + 'ClientError'})
"""What every channel has, and is written out once."""

_MAX_INDENT: Final = 9
"""The deepest nesting that the style sheet indents; what is deeper stays there."""


def asyncapi_page(document: Mapping[str, Any], base: str) -> str:
    """The page of a document.

    Args:
        document: The document, as `asyncapi_document` makes it.
        base: Where the document and the assets are, relative to the page: they are `{base}.json`,
            `{base}.yaml`, `{base}/page.css` and the like.

    Returns:
        HTML. Everything that comes from the document is escaped.
    """
    made = _Page(document, base)
    return page(made.head(), made.body())


class _Page:
    """A page in the making."""

    def __init__(self, document: Mapping[str, Any], base: str) -> None:
        self._document = document
        self._base = base
        self._rows = Rows(self._resolve, elsewhere=_OURS)
        self._channels = document.get('channels', {})
        self._components = document.get('components', {})
        self._operations: dict[str, list[dict[str, Any]]] = {name: [] for name in self._channels}
        for operation in document.get('operations', {}).values():
            self._operations[_last(operation['channel'])].append(operation)

    def _resolve(self, reference: str) -> Any:
        """What a reference within the document stands for; one that leads nowhere says nothing."""
        found: Any = self._document
        for step in reference.removeprefix('#/').split('/'):
            name = step.replace('~1', '/').replace('~0', '~')
            found = found.get(name) if isinstance(found, Mapping) else None
        return {} if found is None else found

    # -- the frame

    def head(self) -> Iterator[Markup]:
        """What browsers want to know."""
        yield tag('meta', charset='utf-8')
        yield tag('meta', name='viewport', content='width=device-width, initial-scale=1')
        yield tag('meta', name='color-scheme', content='light dark')
        yield tag('title', self._document['info']['title'])
        yield tag('link', rel='icon', type='image/svg+xml', href=f'{self._base}/page.svg')
        yield tag('link', rel='stylesheet', href=f'{self._base}/page.css')
        yield tag('script', src=f'{self._base}/page.js', defer=True)

    def body(self) -> Iterator[Markup]:
        """What readers see."""
        yield tag('a', 'To the messages', class_='skip', href='#main')
        yield tag('nav', *self._contents(), aria_label='Contents')
        yield tag(
            'main',
            self._about(),
            *(self._channel(name) for name in self._channels),
            tag('p', 'No message matches.', class_='no-match', hidden=True),
            self._schemas(),
            self._close_codes(),
            id='main',
        )

    def _contents(self) -> Iterator[Markup]:
        info = self._document['info']
        yield tag('a', info['title'], class_='brand', href='#main')
        yield tag(
            'input',
            type='search',
            id='filter',
            placeholder='Filter messages',
            aria_label='Filter messages',
            autocomplete='off',
            hidden=True,
        )
        for name, channel in self._channels.items():
            links = (tag('li', self._link_to(operation)) for operation in self._operations[name])
            address = tag('a', breakable(channel['address']), href=f'#{_channel_id(name)}')
            yield tag('section', tag('h2', address), tag('ul', *links))
        more = [
            tag('li', tag('a', text, href=f'#{anchor}'))
            for text, anchor, is_there in (
                ('Schemas', 'schemas', 'schemas' in self._components),
                ('Close codes', 'close-codes', 'x-close-codes' in self._document),
            )
            if is_there
        ]
        yield tag('section', tag('ul', *more), class_='more')

    def _link_to(self, operation: dict[str, Any]) -> Markup:
        key = _last(operation['messages'][0])
        is_received = operation['action'] == 'receive'
        arrow = tag('span', '→' if is_received else '←', class_='arrow', aria_hidden='true')
        return tag(
            'a',
            arrow,
            ' ',
            tag('span', breakable(self._message(key)['name'])),
            href=f'#{_message_id(key)}',
            class_='in' if is_received else 'out',
            title=_TO_SERVER if is_received else _TO_CLIENT,
        )

    def _message(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._components['messages'][key]
        return found

    # -- the app

    def _about(self) -> Markup:
        info = self._document['info']
        links = [tag('a', form, href=f'{self._base}.{form.lower()}') for form in ('JSON', 'YAML')]
        facts = [
            tag('span', f'Version {info["version"]}', class_='tag'),
            tag('span', f'AsyncAPI {self._document["asyncapi"]}', class_='tag'),
            *links,
        ]
        return tag(
            'header',
            tag('h1', info['title']),
            tag('p', *facts, class_='facts'),
            prose(info.get('description', '')),
            self._servers(),
        )

    def _servers(self) -> Markup:
        servers = [
            joined([tag('dt', name), tag('dd', *self._server(server))])
            for name, server in self._document.get('servers', {}).items()
        ]
        return joined([tag('h2', 'Servers'), tag('dl', *servers)] if servers else [])

    def _server(self, server: dict[str, Any]) -> Iterator[Markup]:
        pathname = server.get('pathname', '')
        yield tag('code', breakable(f'{server["protocol"]}://{server["host"]}{pathname}'))
        schemes = [
            _scheme(_last(each) if '$ref' in each else '', self._resolved(each))
            for each in server.get('security', ())
        ]
        if schemes:
            yield tag('p', f'Security: {", or ".join(schemes)}')
        yield prose(server.get('description', ''))

    def _resolved(self, part: dict[str, Any]) -> Any:
        return self._resolve(part['$ref']) if '$ref' in part else part

    # -- a channel

    def _channel(self, name: str) -> Markup:
        channel = self._channels[name]
        answers = self._shared_answers(name)
        operations = self._operations[name]
        return tag(
            'section',
            tag('h2', _anchor(_channel_id(name)), tag('code', breakable(channel['address']))),
            tag('p', inline(channel.get('summary', '')), class_='summary'),
            self._parameters(channel),
            prose(channel.get('description', '')),
            *(self._operation(operation, answers) for operation in operations),
            *(self._article(key, *facts) for key, facts in answers.items()),
            class_='channel',
            id=_channel_id(name),
        )

    def _parameters(self, channel: dict[str, Any]) -> Markup:
        parameters = [
            joined([tag('dt', tag('code', f'{{{name}}}')), tag('dd', prose(said['description']))])
            for name, said in channel.get('parameters', {}).items()
        ]
        return tag('dl', *parameters) if parameters else joined([])

    def _shared_answers(self, name: str) -> dict[str, tuple[str, str]]:
        """The answers of more than one message that are nobody's message: key to what to say."""
        uses: Counter[str] = Counter()
        directions = {}
        for operation in self._operations[name]:
            for reference in operation.get('reply', {}).get('messages', ()):
                key = _last(reference)
                uses[key] += 1
                directions[key] = _answer_direction(operation)
        said = {_last(each['messages'][0]) for each in self._operations[name]}
        return {
            key: (directions[key], 'answer')
            for key, count in uses.items()
            if count > 1 and key not in said
        }

    # -- a message

    def _operation(self, operation: dict[str, Any], shared: Mapping[str, Any]) -> Markup:
        key = _last(operation['messages'][0])
        is_received = operation['action'] == 'receive'
        return self._article(
            key,
            _TO_SERVER if is_received else _TO_CLIENT,
            'in' if is_received else 'out',
            *self._answers(operation, shared),
        )

    def _answers(self, operation: dict[str, Any], shared: Mapping[str, Any]) -> Iterator[Markup]:
        """What answers a message: written out here if nothing else has that answer."""
        said = {
            _last(each['messages'][0]) for each in self._operations[_last(operation['channel'])]
        }
        links, written_out = [], []
        for reference in operation.get('reply', {}).get('messages', ()):
            key = _last(reference)
            links.append(tag('a', self._message(key)['title'], href=f'#{_message_id(key)}'))
            if key not in shared and key not in said:
                written_out.append(key)
        if links:
            listed = [part for link in links for part in (' or ', link)][1:]
            yield tag('p', 'Answered by ', *listed, '.', class_='answers')
        for key in written_out:
            yield self._article(key, _answer_direction(operation), 'answer')

    def _article(self, key: str, direction: str, kind: str, *more: Markup) -> Markup:
        message = self._message(key)
        heading = [_anchor(_message_id(key)), tag('code', breakable(message['title']))]
        return tag(
            'article',
            tag('h3', *heading, ' ', tag('span', direction, class_='tag')),
            tag('p', inline(message.get('summary', '')), class_='summary'),
            prose(message.get('description', '')),
            tag(
                'div',
                tag('div', self._table(message['payload']), class_='shape'),
                self._example(message),
                class_='both',
            ),
            *more,
            class_=f'message {kind}',
            id=_message_id(key),
            data_type=message['name'],
        )

    def _example(self, message: dict[str, Any]) -> Markup:
        example = example_of(message['payload'], self._resolve)
        caption = ['Example', tag('small', ' ', message.get('contentType', ''))]
        return tag(
            'figure', tag('figcaption', *caption), tag('pre', tag('code', json_markup(example)))
        )

    # -- a schema

    def _table(self, schema: Any, name: str | None = None) -> Markup:
        rows = self._rows.of(schema, name)
        first = rows[0]
        if len(rows) > 1 and not first.constraints and first.type[0].text == 'object':
            rows = [replace(row, depth=row.depth - 1) for row in rows[1:]]
        head = tag('tr', *(tag('th', each, scope='col') for each in ('Name', 'Type', 'About')))
        return tag('table', tag('thead', head), tag('tbody', *map(_row, rows)))

    def _schemas(self) -> Markup:
        schemas = self._components.get('schemas', {})
        if not schemas:
            return joined([])
        return tag('section', tag('h2', 'Schemas'), *map(self._schema, schemas), id='schemas')

    def _schema(self, name: str) -> Markup:
        schema = self._components['schemas'][name]
        return tag(
            'article',
            tag('h3', _anchor(_schema_id(name)), tag('code', breakable(name))),
            prose(schema.get('description', '')),
            self._table(schema, name),
            class_='schema',
            id=_schema_id(name),
        )

    def _close_codes(self) -> Markup:
        rows = [
            tag(
                'tr',
                tag('td', tag('code', str(row['code']))),
                tag('td', row['name']),
                tag(
                    'td', row['meaning'], tag('small', ' Come back later.') if row['retry'] else ''
                ),
            )
            for row in self._document.get('x-close-codes', ())
        ]
        if not rows:
            return joined([])
        head = tag('tr', *(tag('th', each, scope='col') for each in ('Code', 'Name', 'Meaning')))
        table = tag('table', tag('thead', head), tag('tbody', *rows))
        return tag('section', tag('h2', 'Close codes'), table, id='close-codes')


def _row(row: Row) -> Markup:
    name = row.alternative or row.name or 'value'
    label = [
        tag('code' if row.name else 'i', breakable(name)),
        tag('small', ' required', class_='required') if row.is_required else '',
    ]
    type_ = [
        tag('a', breakable(piece.text), href=f'#{_schema_id(piece.schema)}')
        if piece.schema
        else piece.text
        for piece in row.type
    ]
    about = [
        *(joined([tag('span', each, class_='constraint'), ' ']) for each in row.constraints),
        prose(row.description),
        tag('p', 'What is inside stands under the name of its type.') if row.is_elsewhere else '',
    ]
    kind = ' alternative' if row.alternative else ''
    return tag(
        'tr',
        tag('th', *label, scope='row'),
        tag('td', *type_),
        tag('td', *about),
        class_=f'd{min(row.depth, _MAX_INDENT)}{kind}',
    )


def _answer_direction(operation: dict[str, Any]) -> str:
    return _TO_CLIENT if operation['action'] == 'receive' else _TO_SERVER


def _scheme(name: str, scheme: Mapping[str, Any]) -> str:
    facts = [str(scheme[key]) for key in ('type', 'scheme', 'in', 'name') if key in scheme]
    return f'{name} ({", ".join(facts)})' if name else ', '.join(facts)


def _anchor(id: str) -> Markup:
    return tag('a', '#', class_='anchor', href=f'#{id}', aria_label='Link to this')


def _last(reference: Mapping[str, str]) -> str:
    return reference['$ref'].rpartition('/')[2]


def _channel_id(name: str) -> str:
    return f'channel-{name}'


def _message_id(key: str) -> str:
    return f'message-{key}'


def _schema_id(name: str) -> str:
    return f'schema-{name}'
