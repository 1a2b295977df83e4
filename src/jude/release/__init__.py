"""Which model version serves: a manifest comes in, a row of model_versions goes out, or a refusal.

`trained` reads a training run and merges it, `candidates` makes a registered challenger of it, `promoting` a champion;
`registry` and `tracking` are MLflow, `card` is the model card. What needs torch is imported when it is called.
"""

from jude.release.registering import register

__all__ = ["register"]
