"""A client of the reflection service, for both versions."""

from grpc_reflection.v1alpha import reflection_pb2

from app import TIMEOUT_S
from sidecar import connect


def reflect(target: str, version: str, **request):
    """The response to one request, such as `list_services=""`."""
    # The messages of v1 and v1alpha have the same fields, so one set of stubs serves both.
    with connect(target) as channel:
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        message = reflection_pb2.ServerReflectionRequest(**request)
        (answer,) = call(iter([message]), timeout=TIMEOUT_S)
    return answer
