"""Where Redis is: the environment variable `REDIS_URL` is read here, and nowhere else."""

import os

VARIABLE = 'REDIS_URL'


def find_redis_url() -> str | None:
    """Return the URL of the Redis that all processes of the chat have; None if none is given."""
    return os.environ.get(VARIABLE) or None


def require_redis_url() -> str:
    """Return the same.

    Raises:
        SystemExit: None is given.
    """
    url = find_redis_url()
    if url is None:
        raise SystemExit(
            f'Say which Redis links the processes: {VARIABLE}=redis://host:6379/0. '
            'The one of `make demo-cluster` is printed when that starts.'
        )
    return url


def backend_url(redis_url: str) -> str:
    """Return the URL for the library: with a prefix, so that other apps may use the same Redis."""
    return f'{redis_url}{"&" if "?" in redis_url else "?"}prefix=chat'
