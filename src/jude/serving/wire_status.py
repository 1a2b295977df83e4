"""When to come back, as trailing metadata: written by the server, read by the client."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration

from jude.serving.refusal import RefusedError
from jude.serving.v1 import embedding_pb2 as pb

DETAILS_KEY: Final = "grpc-status-details-bin"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
_RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"


def status_metadata(refused: RefusedError) -> tuple[tuple[str, str | bytes], ...]:
    """Say when to come back, in both ways that clients know: google.rpc.RetryInfo, and gRPC's own push-back (A6)."""
    if refused.retry_after_seconds is None:
        return ()
    delay = Duration()
    delay.FromMilliseconds(max(1, int(1000 * refused.retry_after_seconds)))
    info = AnyMessage(type_url=_RETRY_INFO, value=pb.RetryInfo(retry_delay=delay).SerializeToString())
    status = pb.RpcStatus(code=refused.code, message=str(refused), details=[info])
    return (DETAILS_KEY, status.SerializeToString()), (PUSHBACK_KEY, str(delay.ToMilliseconds()))


def retry_after_seconds(metadata: Any) -> float | None:  # noqa: ANN401  grpc ships no types
    """Read back what `status_metadata` wrote; None where a server said nothing."""
    for key, value in metadata or ():
        if key == PUSHBACK_KEY and str(value).isdigit():
            return int(value) / 1000
    return None
