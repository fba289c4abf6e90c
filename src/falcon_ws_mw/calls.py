"""Questions to other processes, and their answers.

A question goes to all processes that hold a channel; each does what it is asked and answers to the
process that asked. An error is an answer: it is raised where the question was put.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
import logging
from typing import Any, Final, TypeAlias

from falcon import OperationNotAllowed, WebSocketDisconnected

from falcon_ws_mw import errors
from falcon_ws_mw.channels import Channel
from falcon_ws_mw.errors import BackendUnavailable, RemoteCallError
from falcon_ws_mw.packets import Packet, Variant

logger = logging.getLogger('falcon_ws_mw')

ANSWER_SECONDS: Final = 5.0
"""How long a process may take to answer, if it has nobody to wait for itself."""

LOOK_SECONDS: Final = 0.25
"""After how long it is looked whether those who were asked are still there, and again."""

ASK: Final = 'ask'
ANSWER: Final = 'answer'

Operation: TypeAlias = Callable[..., Awaitable[Any]]
"""What a process may be asked to do: called with the arguments, and `variants=` if there are any.
"""

Say: TypeAlias = Callable[
    [str, Channel, Mapping[str, Any], tuple[Variant, ...]], Awaitable[int | None]
]
"""Sends an operation and its facts to a channel; returns how many processes got it."""

Listening: TypeAlias = Callable[[Channel], Awaitable[int | None]]
"""Says how many processes would get what is sent to a channel."""

_REVIVED: Final[Mapping[str, type[Exception]]] = {
    name: kind
    for name, kind in (
        *((name, getattr(errors, name)) for name in errors.__all__),
        ('OperationNotAllowed', OperationNotAllowed),
        ('WebSocketDisconnected', WebSocketDisconnected),
        ('ValueError', ValueError),
        ('TypeError', TypeError),
    )
    if isinstance(kind, type)
}
"""Errors that say something to whoever asked."""


class _Question:
    """One question, and what was answered so far."""

    __slots__ = ('answers', 'expected', 'is_answered')

    def __init__(self) -> None:
        self.answers: list[Mapping[str, Any]] = []
        self.expected: int | None = None
        self.is_answered = asyncio.Event()

    def check(self) -> None:
        if self.expected is not None and len(self.answers) >= self.expected:
            self.is_answered.set()


class Calls:
    """Asks other processes, and answers them.

    Args:
        say: Sends something to a channel.
        listening: Says how many processes a channel has now.
        operations: What this process may be asked to do, by name.
    """

    __slots__ = (
        '_answering',
        '_asked',
        '_has_ended',
        '_listening',
        '_operations',
        '_questions',
        '_say',
    )

    def __init__(self, say: Say, listening: Listening, operations: Mapping[str, Operation]) -> None:
        self._say = say
        self._listening = listening
        self._operations = operations
        self._questions: dict[int, _Question] = {}
        self._asked = 0
        self._answering: set[asyncio.Task[None]] = set()
        self._has_ended = False

    async def ask(
        self,
        channel: Channel,
        operation: str,
        *args: Any,
        variants: tuple[Variant, ...] = (),
        seconds: float | None = ANSWER_SECONDS,
    ) -> list[Any]:
        """Ask all processes that hold a channel.

        Args:
            channel: Whom to ask.
            operation: What to do.
            args: Anything that can be JSON.
            variants: Frames that go with it.
            seconds: How long they may take, `None` for as long as they like.

        Returns:
            What each of them answered.

        Raises:
            BackendUnavailable: If the question could not be put, or not all have answered in time.
            RemoteCallError: If one of them failed as it should not.
            Exception: What one of them says is wrong.
        """
        self._asked += 1
        number, question = self._asked, _Question()
        self._questions[number] = question
        try:
            facts = {'id': number, 'call': operation, 'args': args}
            reached = await self._say(ASK, channel, facts, variants)
            question.expected = 1 if reached is None else reached
            question.check()
            async with asyncio.timeout(seconds):
                while not question.is_answered.is_set():
                    await self._wait(question, channel)
        except TimeoutError:
            raise BackendUnavailable(
                f'{len(question.answers)} of {question.expected} processes have answered within '
                f'{seconds:g} s'
            ) from None
        finally:
            del self._questions[number]
        return [_result_of(answer) for answer in question.answers]

    async def _wait(self, question: _Question, channel: Channel) -> None:
        """Wait a while for answers; then do not expect those of processes that have died."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await question.is_answered.wait()
        except TimeoutError:
            try:
                listening = await self._listening(channel)
            except BackendUnavailable:
                return
            if listening is not None and listening < (question.expected or 0):
                question.expected = listening
                question.check()

    def answered(self, packet: Packet) -> None:
        """An answer has come. If nobody waits for it any more, it is nobody's."""
        question = self._questions.get(packet.facts.get('id', 0))
        if question is not None:
            question.answers.append(packet.facts)
            question.check()

    def asked(self, packet: Packet) -> None:
        """A question has come: see to it in a task of its own."""
        if self._has_ended:
            return
        task = asyncio.create_task(self._answer(packet), name='falcon_ws_mw answer')
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, packet: Packet) -> None:
        outcome = await self._outcome(packet)
        try:
            await self._say_answer(packet, outcome)
        except BackendUnavailable:
            logger.warning('an answer to another process could not be sent: its question times out')

    async def _say_answer(self, packet: Packet, outcome: Mapping[str, Any]) -> None:
        where, number = Channel('node', packet.origin), packet.facts.get('id')
        try:
            await self._say(ANSWER, where, {'id': number, **outcome}, ())
        except TypeError as error:  # what it should say cannot be JSON
            outcome = {'error': ['TypeError', [str(error)]]}
            await self._say(ANSWER, where, {'id': number, **outcome}, ())

    async def _outcome(self, packet: Packet) -> dict[str, Any]:
        named = {'variants': packet.variants} if packet.variants else {}
        try:
            operation = self._operations[packet.facts['call']]
            return {'result': await operation(*packet.facts['args'], **named)}
        except Exception as error:
            name = type(error).__name__
            if _REVIVED.get(name) is type(error):
                args = (error.code,) if isinstance(error, WebSocketDisconnected) else error.args
                return {'error': [name, [_as_fact(arg) for arg in args]]}
            logger.exception('what another process asked for failed: %s', packet.facts.get('call'))
            return {'error': ['RemoteCallError', [name]]}

    def begin(self) -> None:
        """Answer from now on."""
        self._has_ended = False

    async def end(self) -> None:
        """Answer nobody any more, until `begin`."""
        self._has_ended = True
        for task in self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering)


def _as_fact(arg: object) -> object:
    """What an error is about, as JSON can carry it."""
    return arg if isinstance(arg, (str, int, float, list, dict)) or arg is None else repr(arg)


def _result_of(answer: Mapping[str, Any]) -> Any:
    error = answer.get('error')
    if error is None:
        return answer.get('result')
    name, args = error
    try:
        revived = _REVIVED[name](*args)
    except (KeyError, TypeError):  # of another version
        revived = RemoteCallError(str(name))
    raise revived
