"""Errors of gRPC, decoded: `google.rpc.Status` with its details becomes a typed exception.

The few messages of `google.rpc` are described here, in a pool of their own, so that the package
needs no further dependency and does not conflict with one that has them.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .errors import (
    AlreadyExists,
    CallError,
    Exhausted,
    GroupReplaced,
    Internal,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    PreconditionFailed,
    Unavailable,
)
from .model import FieldViolation

_FIELD = descriptor_pb2.FieldDescriptorProto
_TEXT, _BYTES, _NUMBER = _FIELD.TYPE_STRING, _FIELD.TYPE_BYTES, _FIELD.TYPE_INT32
_LONG = _FIELD.TYPE_INT64
_PACKAGE = "imquota.details"
# Message: its fields, each with number, type or message, and whether it is repeated.
_MESSAGES: dict[str, list[tuple[str, int, Any, bool]]] = {
    "Any": [("type_url", 1, _TEXT, False), ("value", 2, _BYTES, False)],
    "Status": [("code", 1, _NUMBER, False), ("message", 2, _TEXT, False),
               ("details", 3, "Any", True)],
    "Entry": [("key", 1, _TEXT, False), ("value", 2, _TEXT, False)],
    "ErrorInfo": [("reason", 1, _TEXT, False), ("domain", 2, _TEXT, False),
                  ("metadata", 3, "Entry", True)],
    "Duration": [("seconds", 1, _LONG, False), ("nanos", 2, _NUMBER, False)],
    "RetryInfo": [("retry_delay", 1, "Duration", False)],
    "Violation": [("field", 1, _TEXT, False), ("description", 2, _TEXT, False)],
    "BadRequest": [("field_violations", 1, "Violation", True)],
}


def _message_types() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="imquota/details.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, repeated in fields:
            field = message.field.add(
                name=field_name, number=number,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL)
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_TYPES = _message_types()

NOTHING_DONE = frozenset({
    "OVERLOADED", "DEADLINE_PASSED", "REQUEST_UNFINISHED", "CLOCK_SKEW", "REFUSED", "STORE_LOST",
    "STORE_NOT_OPEN", "CLOSING", "JOURNAL_BLOCKED", "CONNECTION_AGE", "SHUTTING_DOWN",
    "ENDING_PENDING",
})
"""Reasons of errors after which nothing was done."""

NEEDS_OPERATOR = frozenset({"STORE_LOST", "JOURNAL_BLOCKED", "FAILED"})
"""Reasons of errors that a repetition within seconds does not change."""

_CLASSES: dict[str, type[CallError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "FAILED_PRECONDITION": PreconditionFailed,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": PermissionDenied,
    "ABORTED": GroupReplaced,
    "RESOURCE_EXHAUSTED": Exhausted,
}


def make(code: str, reason: str, message: str, **details: Any) -> CallError:
    """The exception for a status and a reason."""
    if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        kind: type[CallError] = Unavailable if reason in NOTHING_DONE else OutcomeUnknown
    elif code == "RESOURCE_EXHAUSTED" and details.get("retry_delay_s") is not None:
        kind = Unavailable
    else:
        kind = _CLASSES.get(code, Internal)
    return kind(code, reason, message, **details)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def of_status(code: str, message: str, metadata: Iterable[Any] | None) -> CallError:
    """The exception for the status of a call and its trailing metadata."""
    packed = next((value for key, value in metadata or ()
                   if key == "grpc-status-details-bin"), None)
    details: dict[str, Any] = {}
    reason = ""
    for each in _TYPES["Status"].FromString(packed).details if packed else ():
        name = each.type_url.rpartition(".")[2]
        if name == "ErrorInfo":
            info = _TYPES[name].FromString(each.value)
            reason = info.reason
            details["metadata"] = more = {entry.key: entry.value for entry in info.metadata}
            details["im_error_code"] = _number(more.pop("im_error_code", ""))
            details["im_error_name"] = more.pop("im_error_name", "")
        elif name == "RetryInfo":
            delay = _TYPES[name].FromString(each.value).retry_delay
            details["retry_delay_s"] = delay.seconds + delay.nanos / 1e9
        elif name == "BadRequest":
            details["field_violations"] = tuple(
                FieldViolation(it.field, it.description)
                for it in _TYPES[name].FromString(each.value).field_violations)
    return make(code, reason, message, **details)


_CODES = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
          "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
          "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
          "UNAUTHENTICATED")


def of_apply(error: Any) -> CallError:
    """The exception for the error of one operation of an Apply stream."""
    code = _CODES[error.code] if 0 <= error.code < len(_CODES) else "UNKNOWN"
    delay = error.retry_delay.ToTimedelta().total_seconds() if error.HasField(
        "retry_delay") else None
    return make(
        code, error.reason, error.message, metadata=dict(error.metadata), retry_delay_s=delay,
        field_violations=tuple(
            FieldViolation(it.field, it.description) for it in error.field_violations),
        im_error_code=error.im_error_code, im_error_name=error.im_error_name)
