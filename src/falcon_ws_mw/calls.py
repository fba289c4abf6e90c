"""Questions to other processes, and their answers.

A question goes to the process that holds a channel; it does what it is asked and answers to the
process that asked. An error is an answer: it is raised where the question was put.

Either may be lost with a connection. So a question is put again, under its number, until it is
answered; whoever is asked does it once, and says its answer as often as it is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
import logging
from typing import Any, Final, Literal, TypeAlias

from falcon import OperationNotAllowed, WebSocketDisconnected
import orjson

from falcon_ws_mw import cancellation, errors
from falcon_ws_mw.answers import Answer, Answers
from falcon_ws_mw.channels import Channel
from falcon_ws_mw.errors import BackendUnavailable, RemoteCallError
from falcon_ws_mw.packets import Packet, UnreadablePacket, Variant

logger = logging.getLogger('falcon_ws_mw')

ANSWER_SECONDS: Final = 5.0
"""How long a process may take to answer, if it has nobody to wait for itself."""

LOOK_SECONDS: Final = 0.25
"""After how long it is looked whether who was asked is still there, and the question is put again.
Then whenever twice the time has passed, and whenever half of what is left has."""

LONGEST_LOOK_SECONDS: Final = 4.0
"""Between two looks: so much later comes an answer that was lost. After four times that it is a
quarter of what has passed, so that a thousand requests that wait for an hour cost little."""

ABSENT_SECONDS: Final = 1.0
"""For how long a process is waited for that lives, by its lease, and does not listen. It may have
been killed, or be getting in touch again. Twice as long, if it has been given the question."""

ASK: Final = 'ask'
ASK_AGAIN: Final = 'ask_again'
"""Another word, since whoever does not know it does nothing; it would do another `ASK` again."""

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


class _Absent(Exception):
    """Who holds a channel does not listen."""


class _Question:
    """One question, and what is answered."""

    __slots__ = ('answer', 'channel', 'facts', 'variants')

    def __init__(
        self, channel: Channel, facts: Mapping[str, Any], variants: tuple[Variant, ...]
    ) -> None:
        self.channel = channel
        self.facts = facts
        self.variants = variants
        self.answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()

    def refuse(self, problem: str) -> None:
        """It will not be answered."""
        if not self.answer.done():
            self.answer.set_exception(BackendUnavailable(problem))
            self.answer.exception()  # whoever asks may have been told of it already


class Calls:
    """Asks other processes, and answers them.

    Args:
        say: Sends something to a channel.
        presence: Says how many processes a channel has now.
        operations: What this process may be asked to do, by name.
    """

    __slots__ = (
        '_answering',
        '_answers',
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
        self._answers = Answers()
        self._answering: set[asyncio.Task[None]] = set()
        self._has_ended = False

    # -- to ask

    async def ask(
        self,
        channel: Channel,
        operation: str,
        *args: Any,
        variants: tuple[Variant, ...] = (),
        seconds: float = ANSWER_SECONDS,
        without_absent: bool = False,
    ) -> list[Any]:
        """Ask the process that holds a channel.

        Args:
            channel: Whom to ask.
            operation: What to do.
            args: Anything that can be JSON.
            variants: Frames that go with it.
            seconds: How long it may take.
            without_absent: Whether one is left out that lives by its lease and does not listen: it
                may have been killed. Else that is an error.

        Returns:
            What it answered; nothing if there is none.

        Raises:
            BackendUnavailable: If the question could not be put, or was not answered in time.
            RemoteCallError: If it failed as it should not.
            Exception: What it says is wrong.
        """
        self._asked += 1
        number = self._asked
        facts = {'id': number, 'call': operation, 'args': args}
        question = self._questions[number] = _Question(channel, facts, variants)
        try:
            reached = await self._say(ASK, channel, facts, variants)
            async with asyncio.timeout(seconds):
                answer = await self._answer_to(question, seconds, was_put=reached != 0)
        except TimeoutError:
            raise BackendUnavailable(
                f'the process that was asked has not answered within {seconds:g} s'
            ) from None
        except _Absent:
            if without_absent:
                return []
            raise BackendUnavailable(
                'the process that was asked is not in touch, or has just died'
            ) from None
        finally:
            del self._questions[number]
        return [] if answer is None else [_result_of(answer)]

    async def ask_each(
        self, node_ids: Iterable[str], operation: str, *args: Any, **options: Any
    ) -> list[Any]:
        """Ask several processes; what each of them answered. Else like `ask`.

        It raises when all are done. Not by the channel that they hold: it may be held by others, or
        no more, when it is asked again.
        """
        asking = (
            self.ask(Channel('node', node_id), operation, *args, **options) for node_id in node_ids
        )
        answers: list[Any] = []
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            answers += outcome
        return answers

    async def _answer_to(
        self, question: _Question, seconds: float, *, was_put: bool
    ) -> Mapping[str, Any] | None:
        """Wait for the answer; `None` if there is nobody any more who could give it."""
        answer = question.answer
        if was_put:
            await asyncio.wait([answer], timeout=LOOK_SECONDS)
        if answer.done():
            return answer.result()
        # A task, since an answer that has come is not to wait for a Redis that does not.
        looking = asyncio.create_task(
            self._look_after(question, seconds, was_put=was_put), name='falcon_ws_mw question'
        )
        try:
            both: tuple[asyncio.Future[Any], ...] = (answer, looking)
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                looking.result()
                return None
            return answer.result()
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            if not looking.cancelled():
                looking.exception()  # it is known, or nobody needs to know any more

    async def _look_after(self, question: _Question, seconds: float, *, was_put: bool) -> None:
        """Put a question again and again, until nobody holds its channel.

        Raises:
            _Absent: If who holds it has not listened for a while.
            BackendUnavailable: If the question could not be put even once.
        """
        clock = asyncio.get_running_loop().time
        began = clock() - (LOOK_SECONDS if was_put else 0)
        absent_pause = ABSENT_SECONDS / 16
        while True:
            reached: int | None = 0
            try:
                held, listening = await self._presence(question.channel)
                if not held:
                    return
                if listening:
                    reached = await self._say(
                        ASK_AGAIN, question.channel, question.facts, question.variants
                    )
            except BackendUnavailable:
                if not was_put:
                    raise
                reached = None  # it is this process that is away
            if reached == 0:
                if absent_pause > (ABSENT_SECONDS if was_put else ABSENT_SECONDS / 2):
                    raise _Absent
                await asyncio.sleep(absent_pause)
                absent_pause *= 2
            else:
                was_put, absent_pause = True, ABSENT_SECONDS / 16
                await asyncio.sleep(_pause_after(clock() - began, seconds))

    def answered(self, packet: Packet) -> None:
        """An answer has come. If nobody waits for it any more, it is nobody's."""
        question = self._questions.get(packet.facts.get('id', 0))
        if question is not None and not question.answer.done():
            question.answer.set_result(packet.facts)

    # -- to answer

    def asked(self, packet: Packet) -> None:
        """A question has come, or has come again: see to it in a task of its own.

        Raises:
            UnreadablePacket: If it is none.
        """
        if self._has_ended:
            return
        number = packet.facts.get('id')
        if not isinstance(number, int):
            raise UnreadablePacket(f'a question has the number {number!r:.40}')
        if self._answers.is_new(packet.origin, number):
            self._begin(self._answer(packet, number))
            return
        answer = self._answers.of(packet.origin, number)
        if answer is not None:  # else it is being done
            self._begin(self._say_once_more(packet.origin, number, answer))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name='falcon_ws_mw answer')
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, packet: Packet, number: int) -> None:
        answer = await self._outcome(packet)
        self._answers.put(packet.origin, number, answer)
        pause = ABSENT_SECONDS / 16
        while not await self._say_answer(packet.origin, number, answer):
            if pause > ABSENT_SECONDS:
                return
            await asyncio.sleep(pause)  # who has asked is getting in touch again, or is no more
            pause *= 2

    async def _say_once_more(self, origin: str, number: int, answer: Answer) -> None:
        await self._say_answer(origin, number, answer)  # if that is lost it asks once more

    async def _say_answer(self, origin: str, number: int, answer: Answer) -> bool:
        """Say an answer to whoever has asked. Whether there is no use in trying it again."""
        try:
            reached = await self._say(ANSWER, Channel('node', origin), answer.facts(number), ())
        except BackendUnavailable:
            logger.warning('an answer to another process could not be sent: it has to ask again')
            return True
        return reached != 0

    async def _outcome(self, packet: Packet) -> Answer:
        named = {'variants': packet.variants} if packet.variants else {}
        try:
            operation = self._operations[packet.facts['call']]
            return _as_answer('result', await operation(*packet.facts['args'], **named))
        except (Exception, asyncio.CancelledError) as error:
            if not isinstance(error, Exception) and cancellation.is_for_this_task():
                raise
            name = type(error).__name__
            if _REVIVED.get(name) is type(error):
                args = (error.code,) if isinstance(error, WebSocketDisconnected) else error.args
                return _as_answer('error', [name, [_as_fact(arg) for arg in args]])
            logger.exception('what another process asked for failed: %s', packet.facts.get('call'))
            return _as_answer('error', ['RemoteCallError', [name]])

    def begin(self) -> None:
        """Answer from now on."""
        self._has_ended = False

    async def end(self) -> None:
        """Answer nobody any more, until `begin`; whoever waits for an answer is told."""
        self._has_ended = True
        # By its next name this process would ask the same once more, and it would be done twice.
        for question in self._questions.values():
            question.refuse('the app has stopped')
        for task in self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering)
        self._answers.abandon()


def _pause_after(passed: float, seconds: float) -> float:
    """How long it is until the next look, when some of the seconds for an answer have passed."""
    longest = max(LONGEST_LOOK_SECONDS, passed / 4)
    return max(LOOK_SECONDS, min(passed, longest, (seconds - passed) / 2))


def _as_answer(kind: Literal['result', 'error'], what: object) -> Answer:
    try:
        said = orjson.dumps(what)
    except TypeError as error:  # it cannot be JSON
        kind, said = 'error', orjson.dumps(['TypeError', [str(error)]])
    return Answer(kind, bytes(memoryview(said)))  # a copy: what orjson makes occupies 4 KiB


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
