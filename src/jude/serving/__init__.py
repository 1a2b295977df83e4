"""Texts or token ids come in over gRPC, vectors of one model version go out.

`server` runs the model, `client` calls it; neither needs the other's packages: a client loads grpc and numpy alone.
"""

import os

# Spark starts its Java process by fork and exec. gRPC's fork handlers start threads in between, in a child whose file
# descriptors are closed already, and end it now and then. Whoever forks without exec opens connections of its own.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
