"""The protocol; `embedding_pb2` is written by `make protobuf`."""
