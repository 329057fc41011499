"""Results of calls in plain Python: outcomes, denials, offers, usage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Generic, TypeVar, overload


class Mode(IntEnum):
    """The mode of a take."""

    ENFORCE = 1
    """Decides, and writes what is allowed."""
    CHECK_ONLY = 2
    """Decides and writes nothing (dry run)."""
    SHADOW = 3
    """Writes everything, and reports what ENFORCE would deny."""
    FORCE = 4
    """Writes everything, even over a limit. The sidecar limits which callers may."""


class Outcome(StrEnum):
    """The outcome for one id of a call."""

    UNSPECIFIED = "UNSPECIFIED"
    """An outcome of a later version."""
    APPLIED = "APPLIED"
    """Taken or released, or changed."""
    ALREADY_HELD = "ALREADY_HELD"
    """It was held before."""
    NOT_HELD = "NOT_HELD"
    """There was nothing to release."""
    DENIED = "DENIED"
    """A limit is reached."""
    ABORTED = "ABORTED"
    """Not denied itself, but not taken, since another one of the batch is denied."""
    QUEUED = "QUEUED"
    """Of a release with `or_later`: it has no answer yet, and is repeated by the queue."""


class HoldOutcome(StrEnum):
    """The outcome for one subject of a hold."""

    UNSPECIFIED = "UNSPECIFIED"
    """An outcome of a later version."""
    CONFIRMED = "CONFIRMED"
    """It is permanent."""
    RETAKEN = "RETAKEN"
    """Its hold had expired; it was taken anew and is permanent."""
    DENIED = "DENIED"
    """Its hold had expired, and a limit denies the new take: it is not held."""
    RELEASED = "RELEASED"
    """The operation does not hold it any more."""
    ENDED_OTHERWISE = "ENDED_OTHERWISE"
    """A leave, a removal, a deletion or a dissolution has ended it; or it is permanent."""


class HoldRelation(IntEnum):
    """The facts among which the holds of an operation are confirmed or released."""

    ALL = 0
    ACCOUNTS = 1
    FRIENDS = 2
    GROUPS = 3


class MeterOutcome(StrEnum):
    """The outcome of one login or sample."""

    UNSPECIFIED = "UNSPECIFIED"
    """An outcome of a later version."""
    COUNTED = "COUNTED"
    """It changed a figure."""
    ALREADY_COUNTED = "ALREADY_COUNTED"
    """It changed nothing."""
    TOO_LATE = "TOO_LATE"
    """Its day is too long ago."""
    IN_FUTURE = "IN_FUTURE"
    """Its instant lies ahead."""
    DENIED = "DENIED"
    """A limit on users who log in is reached."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a limit."""

    kind: str
    """`app`, `user` or `group`."""
    id: str
    """The IM's id; the app's for the app."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A purchase by which a denied call would be admitted."""

    kind: str
    """`edition` or `add_on`."""
    id: str
    """The item in the catalog."""
    new_limit: int | None
    """The limit after the purchase; `None`: unlimited."""
    price_per_month: int
    """In minor units of `currency`."""
    currency: str
    """Such as `CNY`."""
    minor_digits: int
    """Decimals of the price: with 2, 50000 is 500.00."""
    replaces_edition: str
    """The edition that it replaces by ChangeEdition; empty: none."""
    replaces_add_on: str
    """The add-on that it replaces by ExchangeAddOn; empty: none."""


@dataclass(frozen=True, slots=True)
class Denial:
    """One limit that a call would have violated."""

    reason: str
    """Such as `GROUPS_PER_USER`; `LIMIT` for one that `limit_id` alone names."""
    limit_id: str
    """Such as `groups_per_user` or `groups_per_app/AVChatRoom`."""
    subject: Subject
    """The subject whose limit was hit."""
    used: int
    """The number that the subject held."""
    limit: int
    """The number that it may hold."""
    source: str
    """The source of the limit, such as `EDITION` or `ADD_ON`."""
    source_id: str
    """The edition, add-on, type, group or request that the source names."""
    im_error_code: int
    """The code for the IM's client, to be passed on unchanged; 0: none."""
    im_error_name: str
    """The code as a name; empty: none."""
    message: str
    """A sentence in English for logs and operators."""
    offers: tuple[Offer, ...]
    """The purchases that help; empty: none."""


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome for one id of a call."""

    id: str
    """The IM's id."""
    outcome: Outcome
    denials: tuple[Denial, ...] = ()
    """Every violated limit, if it is denied or the mode is SHADOW."""
    repeated: bool = False
    """An earlier attempt with the same operation id had done it."""

    @property
    def allowed(self) -> bool:
        """Whether the slot is held: by this call, or before it."""
        return self.outcome in (Outcome.APPLIED, Outcome.ALREADY_HELD)


@dataclass(frozen=True, slots=True)
class HoldResult:
    """The outcome for one subject of a hold."""

    operation: str
    """`CREATE_ACCOUNTS`, `ADD_FRIENDS`, `CREATE_GROUP` or `JOIN_GROUP`."""
    user: str
    """Empty in the result for a group itself."""
    friend: str
    group: str
    outcome: HoldOutcome
    denials: tuple[Denial, ...]
    expired_at: datetime | None
    """The instant at which the hold had expired."""

    @property
    def id(self) -> str:
        """The friend, else the user, else the group."""
        return self.friend or self.user or self.group

    @property
    def allowed(self) -> bool:
        """Whether it is permanent."""
        return self.outcome in (HoldOutcome.CONFIRMED, HoldOutcome.RETAKEN)


@dataclass(frozen=True, slots=True)
class LoginResult:
    """The outcome of one login."""

    id: str
    """The IM's id of the user."""
    outcome: MeterOutcome
    denials: tuple[Denial, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether no limit denies the login."""
        return self.outcome is not MeterOutcome.DENIED


T = TypeVar("T", Result, HoldResult, LoginResult)


@dataclass(frozen=True, slots=True)
class Results(Sequence[T], Generic[T]):
    """Results in the order of the call's ids, with the metadata of the decision."""

    items: tuple[T, ...]
    degradation: str = ""
    """Empty if the decision is exact; else why it was decided without the store."""
    decided_at: datetime | None = None
    """The store's time of the decision."""

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self.items[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    @property
    def denied(self) -> tuple[T, ...]:
        """The results that are denied."""
        return tuple(each for each in self.items if each.outcome == "DENIED")

    @property
    def allowed(self) -> tuple[str, ...]:
        """The ids that are held: by this call, or before it."""
        return tuple(each.id for each in self.items if each.allowed)

    @property
    def denials(self) -> tuple[Denial, ...]:
        """Every violated limit; in mode SHADOW those that ENFORCE would have denied by."""
        return tuple(denial for each in self.items for denial in each.denials)


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The outcome of a creation of a group."""

    group: Result
    members: Results[Result]


@dataclass(frozen=True, slots=True)
class LeaveResult:
    """The outcome of a leave."""

    members: Results[Result]
    group_reclaimed: bool
    """The last member left, and the group was reclaimed."""


@dataclass(frozen=True, slots=True)
class DissolveResult:
    """The outcome of a dissolution."""

    group: Result
    members_released: int
    degradation: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """One count against its limit."""

    limit_id: str
    used: int
    held: int
    """The part of `used` that is held and not confirmed."""
    limit: int | None
    """`None`: unlimited."""
    source: str
    source_id: str
    changes_at: datetime | None
    """The instant of the limit's next change; `None`: never."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The counts and limits of an app, a user or a group, by limit."""

    usages: dict[str, Usage]
    service_stopped: bool = False
    history: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of an app: the last 31 days of each measure."""

    def __getitem__(self, limit_id: str) -> Usage:
        return self.usages[limit_id]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One problem of one field of a request."""

    field: str
    """Such as `user_ids[3]`."""
    description: str
