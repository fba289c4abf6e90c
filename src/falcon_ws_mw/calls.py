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
"""After how long it is looked whether those who were asked are still there. Then after twice as
long, and so on."""

ABSENT_SECONDS: Final = 1.0
"""For how long a process is waited for that lives, by its lease, and does not listen. It may have
been killed, or be getting in touch again."""

ASK: Final = 'ask'
ANSWER: Final = 'answer'

Operation: TypeAlias = Callable[..., Awaitable[Any]]
"""What a process may be asked to do: called with the arguments, and `variants=` if there are any.
"""

Say: TypeAlias = Callable[
    [str, Channel, Mapping[str, Any], tuple[Variant, ...]], Awaitable[int | None]
]
"""Sends an operation and its facts to a channel; returns how many processes got it."""

Presence: TypeAlias = Callable[[Channel], Awaitable[tuple[int, int]]]
"""Says how many processes hold a channel, by their leases, and how many of them listen."""

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
        presence: Says how many processes a channel has now.
        operations: What this process may be asked to do, by name.
    """

    __slots__ = (
        '_answering',
        '_asked',
        '_has_ended',
        '_operations',
        '_presence',
        '_questions',
        '_say',
    )

    def __init__(self, say: Say, presence: Presence, operations: Mapping[str, Operation]) -> None:
        self._say = say
        self._presence = presence
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
        without_absent: bool = False,
    ) -> list[Any]:
        """Ask all processes that hold a channel.

        Args:
            channel: Whom to ask.
            operation: What to do.
            args: Anything that can be JSON.
            variants: Frames that go with it.
            seconds: How long they may take, `None` for as long as they like.
            without_absent: Whether those are left out who live by their leases and do not listen:
                they may have been killed. Else that is an error.

        Returns:
            What each of them answered; nothing if there are none.

        Raises:
            BackendUnavailable: If the question could not be put, or not all have answered in time.
            RemoteCallError: If one of them failed as it should not.
            Exception: What one of them says is wrong.
        """
        held = await self._all_are_there(channel) if channel.kind == 'user' else None
        facts = {'call': operation, 'args': args}
        answers, reached = await self._put(channel, facts, variants, seconds)
        if not answers and held is None:  # nobody has it, or who has it is away for a moment
            held = await self._all_are_there(channel)
            if held and not reached:
                answers, _ = await self._put(channel, facts, variants, seconds)
        if held and len(answers) < held and not without_absent:
            raise BackendUnavailable(
                f'{held - len(answers)} of {held} processes are not in touch, or have just died'
            )
        return [_result_of(answer) for answer in answers]

    async def _all_are_there(self, channel: Channel) -> int:
        """Wait, for a while, until all who hold a channel listen.

        Returns:
            How many hold it.
        """
        pause = ABSENT_SECONDS / 16
        while True:
            held, listening = await self._presence(channel)
            if listening >= held or pause > ABSENT_SECONDS / 2:
                return held
            await asyncio.sleep(pause)
            pause *= 2

    async def _put(
        self,
        channel: Channel,
        facts: Mapping[str, Any],
        variants: tuple[Variant, ...],
        seconds: float | None,
    ) -> tuple[list[Mapping[str, Any]], int | None]:
        """Put a question; what was answered, and how many it reached."""
        self._asked += 1
        number, question = self._asked, _Question()
        self._questions[number] = question
        try:
            reached = await self._say(ASK, channel, {'id': number, **facts}, variants)
            question.expected = 1 if reached is None else reached
            question.check()
            async with asyncio.timeout(seconds):
                await self._wait(question, channel)
        except TimeoutError:
            raise BackendUnavailable(
                f'{len(question.answers)} of {question.expected} processes have answered within '
                f'{seconds:g} s'
            ) from None
        finally:
            del self._questions[number]
        return question.answers, reached

    async def _wait(self, question: _Question, channel: Channel) -> None:
        """Wait for answers, but not for those of processes that have died."""
        pause, absent_seconds = LOOK_SECONDS, 0.0
        while not question.is_answered.is_set():
            try:
                async with asyncio.timeout(pause):
                    await question.is_answered.wait()
            except TimeoutError:
                try:
                    held, listening = await self._presence(channel)
                except BackendUnavailable:
                    continue
                absent_seconds = absent_seconds + pause if listening < held else 0.0
                if absent_seconds >= ABSENT_SECONDS:
                    held = listening
                question.expected = min(held, question.expected or 0)
                question.check()
                pause *= 2

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
        pause = ABSENT_SECONDS / 16
        while pause <= ABSENT_SECONDS:
            try:
                reached = await self._say(ANSWER, where, {'id': number, **outcome}, ())
            except TypeError as error:  # what it should say cannot be JSON
                outcome = {'error': ['TypeError', [str(error)]]}
                continue
            if reached != 0:
                break
            await asyncio.sleep(pause)  # who has asked is getting in touch again, or is no more
            pause *= 2

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
