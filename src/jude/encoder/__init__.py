"""Token ids come in, vectors go out. What needs torch or Spark stands behind doors: `local`, `udf`.

A `Tokeniser` turns rendered texts into inputs with their hashes; an `Encoder` turns inputs into vectors, in the driver
or in Spark's workers; `encode_inputs` makes either bear bad inputs and bad days.
"""

from jude.encoder.opening import manifest_of, open_encoder, open_tokeniser, pinned
from jude.encoder.protocol import Encoder, ModelInput, Tokeniser
from jude.encoder.resilient import Encode, EncodeResult, RetryPolicy, encode_inputs
from jude.encoder.spec import EncoderSpec
from jude.encoder.version import Manifest, model_version

__all__ = [
    "Encode",
    "EncodeResult",
    "Encoder",
    "EncoderSpec",
    "Manifest",
    "ModelInput",
    "RetryPolicy",
    "Tokeniser",
    "encode_inputs",
    "manifest_of",
    "model_version",
    "open_encoder",
    "open_tokeniser",
    "pinned",
]
