"""Messages of the Apply stream, and the thread that reads one."""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from . import failures
from .errors import CallError, Unavailable
from .steps import Rpc
from .v1 import quota_service_pb2 as quota
from .wire import Method

log = logging.getLogger("imquota")


def apply_request(step: Rpc, tag: int, timeout_s: float) -> quota.ApplyRequest:
    """The message of one operation."""
    request = quota.ApplyRequest(tag=tag, timeout_ms=max(1, round(timeout_s * 1000)))
    getattr(request, step.method.field).CopyFrom(step.request)
    return request


def apply_response(answer: quota.ApplyResponse, method: Method) -> Any:
    """The response in an answer, or the error in it, raised."""
    if answer.WhichOneof("answer") == "error":
        raise failures.of_apply(answer.error)
    return getattr(answer, method.field)


def no_answer(step: Rpc) -> CallError:
    """The error of an operation whose answer did not come in time."""
    return failures.make(
        "DEADLINE_EXCEEDED", "", f"{step.method.name}: no answer within {step.timeout_s:.3f} s")


def no_room(step: Rpc) -> Unavailable:
    """The error of an operation that waited in vain for others of the stream; it was not sent."""
    return Unavailable(
        "DEADLINE_EXCEEDED", "DEADLINE_PASSED",
        f"{step.method.name}: not sent, since too many operations of the stream have no answer")


def stream_ended(code: str, message: str, metadata: Any) -> CallError:
    """The error of all operations of a stream that has ended without their answers."""
    error = failures.of_status(code, message, metadata)
    if not error.reason and code in ("INTERNAL", "CANCELLED", "UNKNOWN"):
        # The gRPC library says so of a lost connection too.
        return failures.make("UNAVAILABLE", "", f"{code}: {message}")
    return error


class _Slot:
    """One operation in flight."""

    __slots__ = ("answer", "end", "error", "is_set", "step", "tag")

    def __init__(self, step: Rpc, tag: int, end: float) -> None:
        self.step = step
        self.tag = tag
        self.end = end
        self.answer: quota.ApplyResponse | None = None
        self.error: CallError | None = None
        self.is_set = threading.Lock()
        self.is_set.acquire()

    def close(self, answer: quota.ApplyResponse | None, error: CallError | None) -> None:
        """Sets the outcome."""
        self.answer, self.error = answer, error
        self.is_set.release()


class Stream:
    """One Apply stream to one address, with the thread that reads it."""

    def __init__(self, begin: Callable[[Iterator[Any], bool], Any], wait_for_ready: bool,
                 in_flight_max: int) -> None:
        self._outgoing: queue.SimpleQueue[_Slot | None] = queue.SimpleQueue()
        self._pending: dict[int, _Slot] = {}
        self._tags = itertools.count(1)
        self._lock = threading.Lock()
        self._room = threading.Semaphore(in_flight_max)
        self._begun = threading.Event()
        self.error: CallError | None = None
        """Why it has ended; `None`: it has not."""
        self._call = begin(self._requests(), wait_for_ready)
        threading.Thread(target=self._read, name="imquota-apply", daemon=True).start()

    def attempt(self, step: Rpc) -> Any:
        """Sends one operation, and waits for its answer."""
        end = time.monotonic() + step.timeout_s
        if not self._room.acquire(timeout=step.timeout_s):
            raise no_room(step)
        slot = _Slot(step, next(self._tags), end)
        with self._lock:
            if self.error is not None:
                self._room.release()
                raise self.error
            self._pending[slot.tag] = slot
            self._outgoing.put(slot)
        # Its place in the stream stays taken until the answer comes.
        if not slot.is_set.acquire(timeout=max(0.0, end - time.monotonic())):
            raise no_answer(step)
        if slot.error is not None:
            raise slot.error
        assert slot.answer is not None
        return apply_response(slot.answer, step.method)

    def _requests(self) -> Iterator[quota.ApplyRequest]:
        # An operation that is sent before there is a connection would wait in it beyond its time.
        self._begun.wait()
        while (slot := self._outgoing.get()) is not None:
            left = slot.end - time.monotonic()
            if left > 0:
                yield apply_request(slot.step, slot.tag, left)
            else:
                self._close(slot.tag, None, no_room(slot.step))

    def _close(self, tag: int, answer: quota.ApplyResponse | None,
               error: CallError | None) -> None:
        slot = self._pending.pop(tag, None)
        if slot is not None:
            slot.close(answer, error)
            self._room.release()

    def _read(self) -> None:
        error = failures.make("UNAVAILABLE", "", "the stream has ended")
        try:
            self._call.initial_metadata()
            self._begun.set()
            for answer in self._call:
                self._close(answer.tag, answer, None)
        except grpc.RpcError as failure:
            metadata: Any = failure.trailing_metadata()
            error = stream_ended(failure.code().name, failure.details() or "", metadata)
        except ValueError as failure:
            error = failures.make("UNAVAILABLE", "", str(failure))
        with self._lock:
            self.error = error
        log.debug("stream ended: %s", error)
        for tag in list(self._pending):
            self._close(tag, None, error)
        self._outgoing.put(None)
        self._begun.set()

    def cancel(self) -> None:
        """Ends it at once."""
        self._call.cancel()
