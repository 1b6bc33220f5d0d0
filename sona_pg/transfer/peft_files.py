"""Adapters in the layout of Hugging Face PEFT: a folder each, with ``adapter_model.safetensors`` and its configuration.

``apply(x) = x + scale · bᵀ(a x)`` is PEFT's LoRA over a frozen identity: ``lora_A = a``, ``lora_B = bᵀ`` and
``lora_alpha = scale · rank``. So a model with a linear layer ``layers.<n>`` of identity weights for each layer gives,
with the adapter, the numbers of ``apply_base_lora`` and ``apply_micro_lora``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from sona_pg.domain.state import LearnedState, LoraWeights
from sona_pg.errors import StorageError

PREFIX = "base_model.model."
WEIGHTS, CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"


def write_peft(state: LearnedState, folder: Path) -> dict[str, Any]:
    """Write the adapters of a version to ``folder/base`` and ``folder/micro``; return what was written.

    Raises:
        StorageError: a file cannot be written.
    """
    parts = {"base": state.base, "micro": (state.micro,)}
    for name, layers in parts.items():
        _write(folder / name, layers)
    return {
        "version": state.version, "dim": state.micro.dim, "base_layers": len(state.base),
        "base_rank": state.base[0].rank, "micro_rank": state.micro.rank, "folder": str(folder),
    }  # fmt: skip


def _write(folder: Path, layers: Sequence[LoraWeights]) -> None:
    tensors = {}
    for number, layer in enumerate(layers):
        tensors[f"{PREFIX}layers.{number}.lora_A.weight"] = np.ascontiguousarray(layer.a, np.float32)
        tensors[f"{PREFIX}layers.{number}.lora_B.weight"] = np.ascontiguousarray(layer.b.T, np.float32)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / (WEIGHTS + "~")
        save_file(tensors, str(beside), {"format": "pt"})
        os.replace(beside, folder / WEIGHTS)
        (folder / CONFIGURATION).write_text(json.dumps(_configuration(layers), indent=2) + "\n")
    except (OSError, SafetensorError) as exc:
        raise StorageError(f"the adapters cannot be written to {folder}: {exc}") from exc


def _configuration(layers: Sequence[LoraWeights]) -> dict[str, Any]:
    """Return the content of ``adapter_config.json``; layers that differ from the first are named in its patterns."""
    first = layers[0]
    named = {f"layers.{number}": layer for number, layer in enumerate(layers)}
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": first.rank,
        "lora_alpha": _alpha(first),
        "rank_pattern": {name: layer.rank for name, layer in named.items() if layer.rank != first.rank},
        "alpha_pattern": {name: _alpha(layer) for name, layer in named.items() if _alpha(layer) != _alpha(first)},
        "target_modules": list(named),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
    }


def _alpha(layer: LoraWeights) -> float:
    return layer.scale * layer.rank
