"""Say something in all rooms, from outside the app: `python -m examples.cluster.announce "text"`.

It needs no event loop and no server, so a cron job or a shell can run it. It finds the processes
by the Redis in `REDIS_URL`.
"""

import argparse
import sys

from examples.chat.fields import MAX_TEXT_CHARS
from examples.chat.messages import Announcement
from examples.chat.rooms import ROOM_PREFIX
from falcon_ws_mw import BackendUnavailable, Emitter, Message

from .settings import backend_url, require_redis_url


def main() -> int:
    """Read the command line, speak, and return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m examples.cluster.announce')
    parser.add_argument('text')
    text = parser.parse_args().text.strip()
    if not 1 <= len(text) <= MAX_TEXT_CHARS:
        parser.error(f'the text must have 1 to {MAX_TEXT_CHARS} characters')
    try:
        with Emitter(backend_url(require_redis_url())) as emitter:
            rooms = emitter.get_rooms_by_prefix(ROOM_PREFIX)
            emitter.broadcast_to_room(rooms, Message('serverAnnouncement', Announcement(text)))
    except BackendUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(f'said in {len(rooms)} room{"" if len(rooms) == 1 else "s"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
