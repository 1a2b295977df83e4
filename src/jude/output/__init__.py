"""The output topic: every applied change of an embedding, for systems that keep their own copy.

In come the changes that a micro-batch applied; out go Kafka records, one per change, at least once. The guard of the
consumer (`jude.output.consumer` is one to copy) makes it once.
"""

from jude.output.message import EmbeddingChange, Record, read_record, write_record
from jude.output.opening import open_output
from jude.output.protocol import NoOutput, Output

__all__ = [
    "EmbeddingChange",
    "NoOutput",
    "Output",
    "Record",
    "open_output",
    "read_record",
    "write_record",
]
