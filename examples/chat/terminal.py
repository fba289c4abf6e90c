"""A terminal client: `python -m examples.chat.terminal --user alice --room lobby`.

Each line of input is a message. It ends with the input (Ctrl-D, or a pipe that runs dry), with
Ctrl-C, or when the server closes.
"""

import argparse
import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
import json
import sys
import threading
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def main() -> int:
    """Read the command line, chat, and return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m examples.chat.terminal', description=__doc__)
    parser.add_argument('--url', default='http://127.0.0.1:8000', help='default: %(default)s')
    parser.add_argument('--user', required=True, help='the name that the others see')
    parser.add_argument('--room', default='lobby', help='default: %(default)s')
    options = parser.parse_args()
    if urlsplit(options.url).scheme not in {'http', 'https'}:
        parser.error('--url must begin with http:// or https://')
    try:
        return asyncio.run(chat(options.url, options.user, options.room))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except HTTPError as error:
        return fail(f'log-in refused with {error.code}: {describe(error.read())}')
    except InvalidStatus as error:
        response = error.response
        return fail(f'room refused with {response.status_code}: {describe(response.body)}')
    except (InvalidHandshake, OSError) as error:
        return fail(f'cannot connect to {options.url}: {error}')


async def chat(url: str, user: str, room: str) -> int:
    """Log in, join a room and talk until either side ends it."""
    token = await asyncio.to_thread(log_in, url, user)
    parts = urlsplit(url)
    room_url = urlunsplit(
        (
            'wss' if parts.scheme == 'https' else 'ws',
            parts.netloc,
            f'{parts.path.rstrip("/")}/ws/chat/{quote(room, safe="")}',
            '',
            '',
        )
    )
    headers = {'Authorization': f'Bearer {token}'}
    answered = asyncio.Event()
    async with (
        connect(room_url, additional_headers=headers) as socket,
        asyncio.TaskGroup() as tasks,
    ):
        talking = tasks.create_task(talk(socket, answered))
        await listen(socket, answered)
        talking.cancel()
    if socket.close_code == CloseCode.NORMAL_CLOSURE:
        return EXIT_OK
    return fail(f'the server closed: {socket.close_code} {printable(socket.close_reason or "")}')


def log_in(url: str, user: str) -> str:
    """Return the token of a new session; blocks."""
    request = Request(  # noqa: S310 (the scheme is checked in main)
        f'{url.rstrip("/")}/session',
        data=json.dumps({'user': user}).encode(),
        headers={'Content-Type': 'application/json'},
        method='POST',
    )
    with urlopen(request, timeout=10) as response:  # noqa: S310
        token: str = json.load(response)['token']
    return token


async def talk(socket: ClientConnection, answered: asyncio.Event) -> None:
    """Send each line of input, and leave the room at its end.

    Messages with an `id` are answered. Waiting for that keeps the pace of the server, and a piped
    text does not leave before its last line has been said.
    """
    lines = read_lines_in_background()
    try:
        while (line := await lines.get()) is not None:
            if not line.strip():
                continue
            answered.clear()
            await socket.send(
                json.dumps({'type': 'clientSendMessage', 'payload': {'text': line}, 'id': 1})
            )
            await answered.wait()
        await socket.close()
    except ConnectionClosed:
        return  # chat() says so


async def listen(socket: ClientConnection, answered: asyncio.Event) -> None:
    """Print what the server says until the connection ends."""
    try:
        async for frame in socket:
            message = json.loads(frame)
            if 'id' in message:
                answered.set()
            text = render(message['type'], message.get('payload') or {})
            if text is not None:
                print(text, flush=True)
    except ConnectionClosed:
        return  # chat() says so


def render(message_type: str, payload: Mapping[str, Any]) -> str | None:
    """Return the line to print for a message, or None for what a terminal need not show."""
    user = printable(str(payload.get('user')))
    line = None
    match message_type:
        case 'serverWelcome':
            room = printable(payload['room'])
            line = f'* you are {user} in {room}; here now: {list_users(payload["users"])}'
        case 'serverNewMessage':
            sent_at = datetime.fromisoformat(payload['sent_at']).astimezone()
            line = f'{sent_at:%H:%M} <{user}> {printable(payload["text"])}'
        case 'serverUserJoined':
            line = f'* {user} joined; here now: {list_users(payload["users"])}'
        case 'serverUserLeft':
            line = f'* {user} left; here now: {list_users(payload["users"])}'
        case 'serverAnnouncement':
            line = f'! {printable(payload["text"])}'
        case 'serverMissed':
            lost = payload['lost']
            line = f'* missing here: {"perhaps some" if lost is None else lost} messages'
        case 'error':
            reason = printable(payload.get('description') or payload['title'])
            line = f'? {payload["status"]} {reason}'
    return line


def list_users(users: Mapping[str, int]) -> str:
    """Return the names, with the number of connections where it is more than one."""
    return ', '.join(
        printable(name) + (f' ({connections})' if connections > 1 else '')
        for name, connections in sorted(users.items())
    )


def printable(text: str) -> str:
    """Return what others wrote without what would steer the terminal (ESC and the like)."""
    return ''.join(character if character.isprintable() else ' ' for character in text)


def describe(body: bytes | bytearray | None) -> str:
    """Return the sentence in Falcon's JSON for an error, as far as there is one."""
    try:
        error = json.loads(body or b'')
    except ValueError:
        return ''
    return printable(str(error.get('description') or error.get('title')))


def read_lines_in_background() -> asyncio.Queue[str | None]:
    """Return a queue that the lines of the standard input will be put into, and None at its end.

    A thread reads them: there is no other way to wait for a terminal, a pipe and a file alike.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def put_all(read: Iterable[str]) -> None:
        for line in read:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, None)

    def read_standard_input() -> None:
        # A file object of its own: the interpreter would wait at its exit for the lock of
        # sys.stdin, which a thread that is blocked in reading holds.
        with open(sys.stdin.fileno(), encoding='utf-8', errors='replace', closefd=False) as read:
            put_all(read)

    # A daemon, for nothing can wake a thread from reading: at Ctrl-C it must not be waited for.
    threading.Thread(target=read_standard_input, daemon=True).start()
    return lines


def fail(reason: str) -> int:
    """Say what went wrong, and return the exit status for it."""
    print(reason, file=sys.stderr)
    return EXIT_FAILED


if __name__ == '__main__':
    sys.exit(main())
