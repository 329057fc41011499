"""Interceptors of a client: they drop answers of calls that were carried out, or count calls."""

import time

import grpc


class LostAnswer(grpc.RpcError):
    """The error of a call whose connection broke after its execution."""

    def code(self) -> grpc.StatusCode:
        """The status."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """The message."""
        return "the response was lost"


class LosesAnswers(grpc.UnaryUnaryClientInterceptor):
    """Forwards calls, and drops a configured number of responses."""

    def __init__(self, to_lose: int = 0, method: str = ""):
        self.to_lose = to_lose
        self.method = method
        """The end of the path of calls whose answers are dropped; empty: of all calls."""
        self.requests = []
        self.times = []
        """The monotonic times of the requests."""

    def intercept_unary_unary(self, continuation, details, request):
        """Forwards the call."""
        self.requests.append(request)
        self.times.append(time.monotonic())
        call = continuation(details, request)
        call.result()
        if self.to_lose > 0 and details.method.endswith(self.method):
            self.to_lose -= 1
            raise LostAnswer
        return call
