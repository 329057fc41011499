"""The details of a gRPC error: messages of `google.rpc`, decoded."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT


def error_of(call) -> grpc.RpcError:
    """The error of `call()`; fails if the call succeeds."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def detail(error: grpc.RpcError, kind):
    """The detail of that message type, or `None`."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    return None


def violations(error: grpc.RpcError) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """The field violations of an INVALID_ARGUMENT, each with a description."""
    assert error.code() == INVALID_ARGUMENT, error
    request = detail(error, error_details_pb2.BadRequest)
    assert request is not None, f"no BadRequest details: {error.details()}"
    assert all(violation.description for violation in request.field_violations), request
    return list(request.field_violations)


def bad_fields(error: grpc.RpcError) -> list[str]:
    """The fields that an INVALID_ARGUMENT names, each with a description."""
    return [violation.field for violation in violations(error)]


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo detail."""
    return detail(error, error_details_pb2.ErrorInfo)


def im_error_code(error: grpc.RpcError) -> str | None:
    """The IM's error code, from the ErrorInfo detail."""
    info = error_info(error)
    return info.metadata.get("im_error_code") if info else None
