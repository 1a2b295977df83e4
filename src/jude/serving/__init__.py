"""Texts or token ids come in over gRPC, vectors of one model version go out.

`server` runs the model, `client` calls it; neither needs the other's packages: a client loads grpc and numpy alone.
"""
