"""The protocol keeps the names that callers know."""

from __future__ import annotations

from jude.serving.v1 import embedding_pb2 as pb


def test_the_service_has_the_promised_name_and_methods() -> None:
    service = pb.DESCRIPTOR.services_by_name["EmbeddingService"]

    assert service.full_name == "jude.embedding.v1.EmbeddingService"
    assert [m.name for m in service.methods] == ["Embed", "EmbedBatch", "EmbedStream", "GetModelInfo"]
