"""The callbacks of Synapse, and what each takes or settles.

Takes are made before Synapse's commit, with a hold; after the commit, or at the hold's end, the
fact is settled by what the database has. Every callback runs in the reactor's thread; calls of the
sidecar run in threads of their own.
"""

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from synapse.module_api import EventBase, ModuleApi, StateMap
from synapse.module_api.errors import Codes, ConfigError, SynapseError
from synapse.spam_checker_api import RegistrationBehaviour
from twisted.internet import reactor
from twisted.python.threadpool import ThreadPool

from . import database
from .ledger import Denied, Ledger, UnknownRoom, Unavailable
from .rooms import TYPE_KEY, type_of_request, type_of_room
from .settings import Settings, parse
from .settler import INVITATION, Fact, Settler, TooMany, Unsettled

logger = logging.getLogger(__name__)

TAKING_THREADS = 16
SETTLING_THREADS = 4
"""Of their own, so that users never wait for what is only to be settled."""

CREATE, MEMBER = "m.room.create", "m.room.member"
POLL_FIRST_S, POLL_MAX_S = 0.1, 5.0

T = TypeVar("T")


class Module:
    """One instance in Synapse's process."""

    def __init__(self, config: Settings, api: ModuleApi) -> None:
        self._settings = config
        self._api = api
        self._ledger = Ledger(config)
        self._settler = Settler(
            api, self._settle, config.unsettled_max, config.timeout_seconds)
        self._taking = ThreadPool(1, TAKING_THREADS, "imquota-take")
        self._settling = ThreadPool(1, SETTLING_THREADS, "imquota-settle")
        for pool in (self._taking, self._settling):
            pool.start()
            reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
        reactor.addSystemEventTrigger("during", "shutdown", self._ledger.close)
        api.register_spam_checker_callbacks(
            check_registration_for_spam=self.check_registration)
        api.register_third_party_rules_callbacks(
            on_create_room=self.on_create_room,
            check_event_allowed=self.check_event_allowed,
            on_new_event=self.on_new_event,
            on_user_deactivation_status_changed=self.on_deactivation_changed)

    @staticmethod
    def parse_config(section: dict[str, Any]) -> Settings:
        """The module's section of `homeserver.yaml`."""
        try:
            return parse(section)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    # Before the commit.

    async def check_registration(self, _threepid: Any, username: str | None, _requests: Any,
                                 _provider: str | None = None) -> RegistrationBehaviour:
        """Takes an account. Guests, who have no name yet, are not counted."""
        if username is None:
            return RegistrationBehaviour.ALLOW
        user_id = self._api.get_qualified_user_id(username)
        fact, hold_s = Fact(user_id), self._settings.hold_seconds
        operation = _operation(user_id, str(time.time_ns()))
        await self._take(fact, operation, hold_s, lambda: self._ledger.hold_account(
            user_id, hold_s, operation))
        # No callback follows the commit.
        self._api.run_as_background_process(
            "imquota_registration", self._watch_registration, fact, operation, hold_s)
        return RegistrationBehaviour.ALLOW

    async def on_create_room(self, requester: Any, request: dict[str, Any], _admin: bool) -> None:
        """Checks a new room with those who are invited into it, and writes its type down.

        It is taken with its id, at its first event. A refusal there would leave a row without
        events in Synapse's database, and one at an invitation a room without its users.
        """
        group_type = type_of_request(self._settings.group_types, request)
        content = request.get("creation_content")
        request["creation_content"] = {
            **(content if isinstance(content, dict) else {}), TYPE_KEY: group_type}
        invited = [each for each in request.get("invite") or [] if isinstance(each, str)]
        owner = requester.user.to_string()
        await self._ask(lambda: self._ledger.check_room(group_type, owner, invited))

    async def check_event_allowed(self, event: EventBase,
                                  state: StateMap[EventBase]) -> tuple[bool, None]:
        """Takes a room at its first event, and a seat at a join or an invitation."""
        if event.type == CREATE and event.is_state():
            await self._create(event)
        elif event.type == MEMBER and event.is_state():
            before = state.get((MEMBER, event.state_key))
            was_joined = before is not None and before.membership == "join"
            if event.membership == "join" and not was_joined:
                await self._seat(event, event.event_id, self._settings.hold_seconds)
            elif event.membership == "invite":
                await self._invite(event)
        return True, None

    async def _create(self, event: EventBase) -> None:
        group_type = await self._type_of_room(event.room_id, event.content)
        fact, hold_s = Fact(event.sender, event.room_id), self._settings.hold_seconds
        await self._take(fact, event.event_id, hold_s, lambda: self._ledger.hold_room(
            event.room_id, group_type, event.sender, hold_s, _operation(event.event_id)))

    async def _type_of_room(self, room_id: str, content: dict[str, Any] | None = None) -> str:
        """The type of a room by what is recorded; `content`: of a first event that is not yet."""
        def find(transaction: Any) -> str:
            def state_of(other: str) -> dict[str, Any]:
                return database.room_state(transaction, other)

            state = {CREATE: content} if content is not None else state_of(room_id)
            return type_of_room(self._settings.group_types, state, state_of)

        return await self._api.run_db_interaction("imquota_type", find)

    async def _seat(self, event: EventBase, taken_by: str, hold_s: int) -> None:
        room_id, user_id = event.room_id, event.state_key
        await self._take(
            Fact(user_id, room_id), taken_by, hold_s, lambda: self._ledger.hold_member(
                room_id, user_id, hold_s, _operation(event.event_id)))

    async def _invite(self, event: EventBase) -> None:
        room_id, user_id = event.room_id, event.state_key
        if self._settings.invite_hold_seconds:
            await self._seat(event, INVITATION, self._settings.invite_hold_seconds)
        else:
            await self._ask(lambda: self._ledger.check_member(room_id, user_id))

    async def _take(self, fact: Fact, event_id: str, hold_s: float,
                    call: Callable[[], None]) -> None:
        """Takes; refuses with an error for the client."""
        async def take() -> None:
            self._ledger.check_answers()
            await self._settler.take(
                fact, event_id, hold_s,
                lambda: self._api.defer_to_threadpool(self._taking, call))

        await self._decided(take())

    async def _ask(self, call: Callable[[], None]) -> None:
        """Checks, and takes nothing."""
        await self._decided(self._api.defer_to_threadpool(self._taking, call))

    async def _decided(self, decision: Awaitable[None]) -> None:
        try:
            await decision
        except Denied as denied:
            raise SynapseError(403, str(denied), Codes.FORBIDDEN, {
                "dev.imquota.limit": denied.limit_id,
                "dev.imquota.im_error_code": denied.im_error_code}) from None
        except UnknownRoom as error:
            logger.error("imquota: room is not loaded, see \"Load what exists\": %s", error)
            self._without_decision("this room is not loaded")
        except (TooMany, Unsettled) as error:
            logger.warning("imquota: earlier changes are not counted yet: %s", error)
            self._without_decision("try again")
        except Unavailable as error:
            logger.warning("imquota: no decision: %s", error)
            self._without_decision("try again")

    def _without_decision(self, why: str) -> None:
        """Refuses, or lets it pass: then it is taken once it is settled."""
        if self._settings.on_unavailable == "refuse":
            raise SynapseError(503, f"The limits cannot be checked at the moment: {why}")

    # After the commit.

    async def on_new_event(self, event: EventBase, _state: StateMap[EventBase]) -> None:
        """Settles a membership that was committed. Only begins that: clients wait for this."""
        if event.type != MEMBER or not event.is_state():
            return
        fact = Fact(event.state_key, event.room_id)
        if event.membership in ("join", "leave", "ban"):
            # A leave also ends an invitation, whose seat is free at once.
            self._settler.committed(
                fact, event.event_id, ends_invitation=event.membership != "join")

    async def on_deactivation_changed(self, user_id: str, _deactivated: bool,
                                      _by_admin: bool) -> None:
        """Settles an account that was deactivated, or activated again."""
        self._settler.committed(Fact(user_id))

    async def _watch_registration(self, fact: Fact, operation: str, hold_s: float) -> None:
        """Settles an account as soon as the database has it. At the hold's end it is settled
        anyway."""
        end, pause = time.monotonic() + hold_s, POLL_FIRST_S
        while time.monotonic() < end:
            if await self._account(fact.user_id) != "gone":
                self._settler.committed(fact, operation)
                return
            await self._api.sleep(pause)
            pause = min(pause * 2, POLL_MAX_S)

    async def _account(self, user_id: str) -> str:
        return await self._api.run_db_interaction("imquota_account", database.account, user_id)

    async def _settle(self, fact: Fact) -> bool:
        """Brings one fact to what the database has; returns whether that is done."""
        if not fact.room_id:
            state = await self._account(fact.user_id)
            if state == "leaving":
                return False
            account = self._ledger.keep_account if state == "active" else (
                self._ledger.release_account)
            await self._in_background(lambda: account(fact.user_id))
            return True
        if not await self._api.run_db_interaction(
                "imquota_member", database.is_joined, fact.room_id, fact.user_id):
            await self._in_background(
                lambda: self._ledger.release_member(fact.room_id, fact.user_id))
            return True
        try:
            await self._in_background(
                lambda: self._ledger.keep_member(fact.room_id, fact.user_id))
        except UnknownRoom:
            group_type = await self._type_of_room(fact.room_id)
            await self._in_background(
                lambda: self._ledger.keep_room(fact.room_id, group_type, fact.user_id))
        return True

    async def _in_background(self, call: Callable[[], T]) -> T:
        return await self._api.defer_to_threadpool(self._settling, call)


def _operation(*parts: str) -> str:
    """The id of an operation, for an event or a registration: 1-64 bytes."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
