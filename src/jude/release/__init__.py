"""Which model version serves: a manifest comes in, a row of model_versions goes out, or a refusal."""

from jude.release.registering import register

__all__ = ["register"]
