"""Steps of a flow: the rules are generators that yield what has to be done, and get its outcome.

So they stand once, for the synchronous and the asynchronous client, which only differ in how they
carry out a step.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from .touches import Touches
from .wire import Method


@dataclass(frozen=True, slots=True)
class Rpc:
    """Make one attempt of a call. Its outcome is the response, or a `CallError` is thrown."""

    method: Method
    request: Message
    timeout_s: float
    address: int
    """The place of the address in the client's list."""
    wait_for_ready: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Settle:
    """Wait until no queued ending touches the same facts. Its outcome: whether that is so."""

    touches: Touches
    timeout_s: float


Step = Rpc | Pause | Settle
R = TypeVar("R")
Steps = Generator[Step, Any, R]
