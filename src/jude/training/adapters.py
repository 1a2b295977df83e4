"""LoRA by roles: which layers of an architecture are the query, the key, the value, or any linear layer."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

from torch import nn

from jude.errors import TerminalTrainingError
from jude.training.settings import LoraSettings

Roles = Literal["qkv", "all"]

_BERT: Final = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
_LLAMA: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LAYERS: Final[dict[str, tuple[str, ...]]] = {
    # The first three are q, k, v; all of them together are "all".
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), _BERT),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), _LLAMA),
    "distilbert": ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"),
    "mpnet": ("attn.q", "attn.k", "attn.v", "attn.o", "intermediate.dense", "output.dense"),
    "t5": ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo"),
}
_FUSED: Final = ("c_attn", "qkv_proj", "query_key_value", "Wqkv", "in_proj")


def add_adapters(model: nn.Module, lora: LoraSettings) -> Any:  # noqa: ANN401  peft ships no types
    """Wrap the model in peft adapters and freeze everything else. Raises TerminalTrainingError.

    Asserts one adapter per role and layer: a name that matches nothing would train nothing, in silence.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_modules(model, lora.roles),
        task_type="FEATURE_EXTRACTION",
    )
    adapted = get_peft_model(model, config)
    _require_each_role(adapted, model)
    return adapted


def target_modules(model: nn.Module, roles: Roles) -> list[str]:
    """Name the linear layers by the ends of their names. Raises TerminalTrainingError for unknown architectures."""
    config: Any = model.config
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if config.model_type not in _LAYERS:
        fused = sorted({name.rsplit(".", 1)[-1] for name in linear} & set(_FUSED))
        why = f"its {', '.join(fused)} holds q, k and v in one" if fused else "its layers are not mapped"
        raise TerminalTrainingError(
            f"LoRA by roles does not know the architecture {config.model_type}: {why}. "
            f"Known: {', '.join(sorted(_LAYERS))}; add it in jude.training.adapters."
        )
    wanted = _LAYERS[config.model_type]
    suffixes = wanted[:3] if roles == "qkv" else wanted
    found = [suffix for suffix in suffixes if any(_ends(name, suffix) for name in linear)]
    return [name for name in linear if any(_ends(name, suffix) for suffix in found) and ".pooler." not in f".{name}"]


def _ends(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith(f".{suffix}")


def _require_each_role(adapted: nn.Module, model: nn.Module) -> None:
    config: Any = model.config
    layers = getattr(config, "num_hidden_layers", None) or config.num_layers
    adapters = [name for name, module in adapted.named_modules() if hasattr(module, "lora_A") and hasattr(module, "r")]
    per_role = Counter(name.rsplit(".", 1)[-1] for name in adapters)
    # BERT calls three of its products `dense`: they count as one name.
    if len(per_role) < 3 or any(count % layers for count in per_role.values()):
        raise TerminalTrainingError(
            f"Adapters by role are {dict(per_role)}, expected three roles or more, each in all {layers} layers."
        )
