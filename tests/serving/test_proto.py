"""The checked-in modules are what `make proto` writes."""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc

from jude.serving.v1 import embedding_pb2 as pb

PROTO = Path("jude/serving/v1/embedding.proto")
SOURCE = Path(__file__).parents[2] / "src"


def test_the_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    well_known = Path(protoc.__file__).parent / "_proto"
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]

    assert protoc.main(["", f"-I{SOURCE}", f"-I{well_known}", *outputs, str(PROTO)]) == 0

    for suffix in ("_pb2.py", "_pb2.pyi"):
        written = PROTO.with_name(PROTO.stem + suffix)
        assert (tmp_path / written).read_text() == (SOURCE / written).read_text(), "run `make proto`"


def test_the_service_has_the_promised_name_and_methods() -> None:
    service = pb.DESCRIPTOR.services_by_name["EmbeddingService"]

    assert service.full_name == "jude.embedding.v1.EmbeddingService"
    assert [m.name for m in service.methods] == ["Embed", "EmbedBatch", "EmbedStream", "GetModelInfo"]
