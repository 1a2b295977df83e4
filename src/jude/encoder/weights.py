"""The tensors of a model folder by the inner model's names, a LoRA adapter merged where there is one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from jude.errors import TerminalEnvironmentError

_STRANGE = ("use_dora", "fan_in_fan_out", "alpha_pattern", "lora_bias", "layer_replication", "alora_invocation_tokens")
_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")  # take something off the base's weights before they train
_PREFIXES = ("model.", "bert.", "roberta.")  # of folders that were saved with a head


class Weights:
    """Tensors of one folder, cast and moved when they are asked for: a 7B model is never held in float32."""

    def __init__(
        self,
        folder: Path,
        adapter: Path | None,
        dtype: torch.dtype,
        device: str,
        *,
        rounded: torch.dtype | None = None,
    ) -> None:
        """Raises TerminalEnvironmentError for missing or broken files, and for an adapter that does not fit.

        rounded: a narrower type that every tensor passes through, where it is computed with in a wider one.
        """
        self._folder, self._dtype, self._device, self._rounded = folder, dtype, device, rounded
        self._tensors = _inner_names(_load(folder))
        if adapter is not None:
            self._merge(adapter)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def get(self, name: str) -> Tensor:
        """Raises TerminalEnvironmentError: these are not the weights of the folder's config."""
        return self._cast(self._original(name))

    def together(self, *names: str, inputs_D: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Stack the weights, and the biases where there are any, of layers that read the same: one product.

        inputs_D: factors of what they read, which the weights take over (a norm's own weights).
        """
        originals = [self._original(f"{name}.weight") for name in names]
        if inputs_D is not None:
            originals = [weight_FD.float() * inputs_D for weight_FD in originals]
        biases = [self.get(f"{name}.bias") for name in names if f"{name}.bias" in self]
        return torch.cat([self._cast(weight_FD) for weight_FD in originals]), torch.cat(biases) if biases else None

    def _original(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise TerminalEnvironmentError(
                f"{self._folder} has no weights {name}: weights and config.json do not belong together."
            )
        return self._tensors[name].to(self._device)

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._rounded or self._dtype).to(self._dtype)

    def _merge(self, adapter: Path) -> None:
        """`W + scale * B A` in float32 (Hu 2021, LoRA). The sum is kept in float32 until it is cast by `get`."""
        config = _read(adapter / "adapter_config.json")
        _require_plain(config, adapter)
        halves = {name.removeprefix("base_model.model."): t for name, t in _load(adapter, "adapter_model").items()}
        for name in [name for name in halves if name.endswith(".lora_A.weight")]:
            target = name.removesuffix(".lora_A.weight")
            a, b = halves.pop(name).float(), halves.pop(f"{target}.lora_B.weight").float()
            kept = f"{_inner_name(target)}.weight"
            if kept not in self._tensors:
                raise TerminalEnvironmentError(f"{adapter} is for another model: {self._folder} has no {kept}.")
            rank = a.shape[0]
            scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
            self._tensors[kept] = self._tensors[kept].float() + scale * (b @ a)
        if halves:
            raise TerminalEnvironmentError(f"{adapter} holds more than LoRA: {', '.join(sorted(halves)[:3])}.")


def _require_plain(config: dict[str, Any], adapter: Path) -> None:
    strange = [key for key in _STRANGE if config.get(key)]
    if (start := str(config.get("init_lora_weights")).lower()).startswith(_STARTS):
        strange.append(f"init_lora_weights {start}")
    if config.get("peft_type") != "LORA" or strange:
        found = ", ".join([str(config.get("peft_type")), *strange])
        raise TerminalEnvironmentError(
            f"{adapter} is {found}; only plain LoRA is merged here. Merge it with peft and save the model."
        )


def _load(folder: Path, name: str = "model") -> dict[str, Tensor]:
    index = folder / f"{name}.safetensors.index.json"
    files = sorted(set(_read(index)["weight_map"].values())) if index.exists() else [f"{name}.safetensors"]
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors.update(load_file(folder / file))
        except FileNotFoundError:
            if name != "model":
                raise TerminalEnvironmentError(f"{folder / file} is missing: copy the adapter anew.") from None
            raise TerminalEnvironmentError(
                f"{folder / file} is missing. Bring the folder into shape: jude model import {folder} TARGET"
            ) from None
        except SafetensorError as error:
            raise TerminalEnvironmentError(f"{folder / file} is broken: {error}. Copy it anew.") from error
    return tensors


def _inner_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {_inner_name(name): tensor for name, tensor in tensors.items()}


def _inner_name(name: str) -> str:
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    return name.removeprefix(prefix)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TerminalEnvironmentError(f"{path} cannot be read: {error}") from error
    return found
