"""The calls of imquota, in the words of Synapse. They block: call them in a thread."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import imquota
from imquota import Mode

from .settings import Settings

logger = logging.getLogger(__name__)

REFUSED_AT_ONCE_S = 1.0
"""Takes are refused for that long after a call without an answer: Synapse makes the joins of a room
one after the other, and each would wait for its whole time."""

DRY_RUN_S = 0.5
"""Longest time of a dry run, which only makes a refusal cleaner."""

CHECKED_ROOM = "!new"
"""Stands for the id of a room that is only checked."""


class Denied(Exception):
    """A limit is reached. The text says which, for a person."""

    def __init__(self, denial: imquota.Denial) -> None:
        super().__init__(denial.message)
        self.limit_id = denial.limit_id
        self.im_error_code = denial.im_error_code


class Unavailable(Exception):
    """No decision was made."""

    def __init__(self, error: Exception | str) -> None:
        super().__init__(str(error))
        self.answered = bool(getattr(error, "reason", ""))
        """Whether the sidecar answered, and could not decide."""


class UnknownRoom(Exception):
    """imquota does not have the room."""


class Ledger:
    """The client of one app."""

    def __init__(self, settings: Settings) -> None:
        self._client = imquota.Client(settings.addresses, settings.app, imquota.Options(
            timeout_s=settings.timeout_seconds))
        self._dry_run_s = min(DRY_RUN_S, settings.timeout_seconds)
        self._silent_until = 0.0

    def close(self) -> None:
        """Closes the connections."""
        self._client.close(timeout_s=1.0)

    # Dry runs. One without an answer is left out, as while the store is unavailable: then only the
    # take is decided, by the sidecar's failure policy.

    def check_room(self, group_type: str, owner: str, members: Sequence[str]) -> None:
        """Whether a room could be created with its first members."""
        self._check(lambda: self._client.create_group(
            CHECKED_ROOM, group_type, owner=owner, members=members, mode=Mode.CHECK_ONLY,
            timeout_s=self._dry_run_s))

    def check_member(self, room_id: str, user_id: str) -> None:
        """Whether a user could join a room."""
        self._check(lambda: self._client.join_group(
            room_id, user_id, mode=Mode.CHECK_ONLY, timeout_s=self._dry_run_s))

    # Takes before the commit, with a hold.

    def hold_account(self, user_id: str, seconds: int, operation: str) -> None:
        """Takes an account."""
        self._decide(lambda: self._client.registering(
            user_id, hold_s=seconds, operation_id=operation).take())

    def hold_room(self, room_id: str, group_type: str, owner: str, seconds: int,
                  operation: str) -> None:
        """Takes a room, and the owner's seat in it."""
        self._decide(lambda: self._client.creating(
            room_id, group_type, owner=owner, hold_s=seconds, operation_id=operation).take())

    def hold_member(self, room_id: str, user_id: str, seconds: int, operation: str) -> None:
        """Takes a seat."""
        self._decide(lambda: self._client.joining(
            room_id, user_id, hold_s=seconds, operation_id=operation).take())

    def _check(self, call: Callable[[], Any]) -> None:
        self.check_answers()
        try:
            _translated(call)
        except Unavailable as error:
            logger.info("imquota: dry run left out: %s", error)

    def _decide(self, call: Callable[[], Any]) -> None:
        """Makes a call that a user waits for."""
        self.check_answers()
        self._call(call)

    def check_answers(self) -> None:
        """Raises `Unavailable` for a moment after a call without an answer."""
        if time.monotonic() < self._silent_until:
            raise Unavailable("the last call had no answer")

    def _call(self, call: Callable[[], Any]) -> None:
        try:
            _translated(call)
        except Unavailable as error:
            if not error.answered:
                self._silent_until = time.monotonic() + REFUSED_AT_ONCE_S
            raise
        self._silent_until = 0.0

    # What the database has is kept, also over a limit: a take without a hold confirms the holds of
    # the same fact, and takes anew what has ended.

    def keep_account(self, user_id: str) -> None:
        """Makes an account permanent."""
        self._keep(user_id, lambda mode: self._client.create_accounts(user_id, mode=mode))

    def keep_room(self, room_id: str, group_type: str, user_id: str) -> None:
        """Makes a room permanent, with one member."""
        self._keep(room_id, lambda mode: self._client.create_group(
            room_id, group_type, members=user_id, mode=mode))

    def keep_member(self, room_id: str, user_id: str) -> None:
        """Makes a seat permanent."""
        self._keep(f"{user_id} in {room_id}", lambda mode: self._client.join_group(
            room_id, user_id, mode=mode))

    # What the database lacks is released.

    def release_account(self, user_id: str) -> None:
        """Releases an account with all that it has."""
        self._call(lambda: self._client.delete_accounts(user_id))

    def release_member(self, room_id: str, user_id: str) -> None:
        """Releases a seat; with the last one the room."""
        try:
            self._call(lambda: self._client.leave_group(room_id, user_id))
        except UnknownRoom:
            pass

    def _keep(self, what: str, take: Callable[[Mode], Any]) -> None:
        try:
            self._call(lambda: take(Mode.ENFORCE))
        except Denied as denied:
            # The commit came after the end of its hold, and others have taken the place.
            logger.warning("imquota: %s exceeds a limit, and is counted: %s", what, denied)
            try:
                self._call(lambda: take(Mode.FORCE))
            except Unavailable as error:
                if not isinstance(error.__cause__, imquota.PermissionDenied):
                    raise
                logger.error("imquota: %s is not counted, mode FORCE is not open: %s", what, error)


def _translated(call: Callable[[], Any]) -> None:
    try:
        call()
    except imquota.Denied as error:
        if error.denial is None:
            raise Unavailable(error) from error
        raise Denied(error.denial) from error
    except imquota.NotFound as error:
        if error.reason != "GROUP_NOT_FOUND":
            raise Unavailable(error) from error
        raise UnknownRoom(str(error)) from error
    except imquota.ImquotaError as error:
        raise Unavailable(error) from error
