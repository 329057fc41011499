"""Client of imquota: exact quotas for instant-messaging servers.

`Client` is synchronous; `imquota.aio.Client` is the one for asyncio.
"""

from . import aio
from .client import Client, Lease
from .endings import Counters, Ending
from .errors import (
    AlreadyExists,
    CallError,
    Closed,
    Denied,
    Exhausted,
    GroupReplaced,
    HoldLost,
    ImquotaError,
    Internal,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    PreconditionFailed,
    QueueFull,
    Unavailable,
)
from .ids import HashedIds, Ids, PlainIds
from .model import (
    Denial,
    DissolveResult,
    FieldViolation,
    GroupResult,
    HoldOutcome,
    HoldRelation,
    HoldResult,
    LeaveResult,
    LoginResult,
    MeterOutcome,
    Mode,
    Offer,
    Outcome,
    Result,
    Results,
    Subject,
    Usage,
    UsageReport,
)
from .options import Bounds, Options, Tls

__all__ = [
    "AlreadyExists", "Bounds", "CallError", "Client", "Closed", "Counters", "Denial", "Denied",
    "DissolveResult", "Ending", "Exhausted", "FieldViolation", "GroupReplaced", "GroupResult",
    "HashedIds", "HoldLost", "HoldOutcome", "HoldRelation", "HoldResult", "Ids", "ImquotaError",
    "Internal", "InvalidRequest", "Lease", "LeaveResult", "LoginResult", "MeterOutcome", "Mode",
    "NotFound", "Offer", "Options", "Outcome", "OutcomeUnknown", "PermissionDenied", "PlainIds",
    "PreconditionFailed", "QueueFull", "Result", "Results", "Subject", "Tls", "Unavailable",
    "Usage", "UsageReport", "aio",
]
