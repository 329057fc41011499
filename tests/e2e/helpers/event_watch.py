"""A client of WatchEvents."""

import grpc

from app import App
from details import error_of
from stubs import admin_pb

TOLD_WITHIN_S = 20


class Watch:
    """An open stream of events."""

    def __init__(self, app: App, token: str = "", **fields):
        request = admin_pb.WatchEventsRequest(resume_token=token, **fields)
        self._answers = app.administration.WatchEvents(request, timeout=TOLD_WITHIN_S)
        first = next(self._answers)
        assert not first.HasField("event"), first
        self.token, self.missed = first.resume_token, first.missed

    def next(self, count: int) -> list:
        """The next events; fails if they do not arrive in time."""
        events = []
        for _ in range(count):
            answer = next(self._answers)
            assert answer.missed == 0
            self.token = answer.resume_token
            events.append(answer.event)
        return events

    def end(self) -> grpc.RpcError:
        """The error that ended the stream, after any further events."""
        return error_of(lambda: list(self._answers))

    def cancel(self) -> None:
        """Cancels the stream."""
        self._answers.cancel()
