"""One Apply stream of the asyncio client."""

import asyncio
import itertools
import logging
import time
from typing import Any

import grpc
import grpc.aio

from .. import failures
from ..apply import apply_request, apply_response, no_answer, no_room, stream_ended
from ..errors import CallError
from ..steps import Rpc

log = logging.getLogger("imquota")


class Stream:
    """One Apply stream to one address, with the tasks that write and read it."""

    def __init__(self, call: Any, in_flight_max: int) -> None:
        self._call = call
        self._outgoing: asyncio.Queue[tuple[int, Rpc, float]] = asyncio.Queue()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._tags = itertools.count(1)
        self._room = asyncio.Semaphore(in_flight_max)
        self.error: CallError | None = None
        """Why it has ended; `None`: it has not."""
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    async def attempt(self, step: Rpc) -> Any:
        """Sends one operation, and waits for its answer."""
        end = time.monotonic() + step.timeout_s
        if self._room.locked():
            try:
                async with asyncio.timeout(step.timeout_s):
                    await self._room.acquire()
            except TimeoutError as error:
                raise no_room(step) from error
        else:
            await self._room.acquire()
        if self.error is not None:
            self._room.release()
            raise self.error
        tag, loop = next(self._tags), asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._pending[tag] = answer
        self._outgoing.put_nowait((tag, step, end))

        def give_up() -> None:
            # Its place in the stream stays taken until the answer comes.
            if not answer.done():
                answer.set_exception(no_answer(step))

        timer = loop.call_later(max(0.0, end - time.monotonic()), give_up)
        try:
            return apply_response(await answer, step.method)
        finally:
            timer.cancel()

    def _close(self, tag: int, answer: Any, error: CallError | None) -> None:
        waiting = self._pending.pop(tag, None)
        if waiting is None:
            return
        self._room.release()
        if not waiting.done():
            if error is None:
                waiting.set_result(answer)
            else:
                waiting.set_exception(error)
                # The caller may have gone; then no task retrieves it.
                waiting.exception()

    async def _write(self) -> None:
        try:
            # An operation that is sent before there is a connection would wait beyond its time.
            await self._call.initial_metadata()
            while True:
                tag, step, end = await self._outgoing.get()
                left = end - time.monotonic()
                if left > 0:
                    await self._call.write(apply_request(step, tag, left))
                else:
                    self._close(tag, None, no_room(step))
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The task that reads has the reason.
            return

    async def _read(self) -> None:
        error = failures.make("UNAVAILABLE", "", "the stream has ended")
        try:
            await self._call.initial_metadata()
            while (answer := await self._call.read()) is not grpc.aio.EOF:
                self._close(answer.tag, answer, None)
            error = stream_ended(
                (await self._call.code()).name, await self._call.details() or "",
                await self._call.trailing_metadata())
        except grpc.RpcError as failure:
            metadata: Any = failure.trailing_metadata()
            error = stream_ended(failure.code().name, failure.details() or "", metadata)
        except asyncio.CancelledError:
            error = failures.make("UNAVAILABLE", "", "the stream was cancelled")
        self.error = error
        log.debug("stream ended: %s", error)
        for tag in list(self._pending):
            self._close(tag, None, error)
        self._tasks[0].cancel()

    async def cancel(self) -> None:
        """Ends it at once."""
        self._call.cancel()
        await asyncio.wait(self._tasks)
