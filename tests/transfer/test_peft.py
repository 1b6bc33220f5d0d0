"""Adapters are written as Hugging Face PEFT reads them, and it gives the same numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.domain.state import LearnedState, LoraWeights
from sona_pg.transfer import write_peft

DIM = 16
DOCS = (Path(__file__).parents[2] / "docs" / "import-export.md").read_text()
(LOADED,) = re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
APPLY = """
import sys
import numpy as np

folder, count = sys.argv[1], int(sys.argv[2])
x = np.load(f"{folder}/x.npy")
model = adapters(folder, x.shape[1], count)
with torch.no_grad():
    np.save(f"{folder}/y.npy", np.stack([model(torch.from_numpy(x), layer).numpy() for layer in range(count)]))
"""


def weights(rng: np.random.Generator, rank: int, scale: float) -> LoraWeights:
    a, b = (rng.standard_normal((rank, DIM)).astype(np.float32) / 4 for _ in "ab")
    return LoraWeights(a, b, scale)


@pytest.fixture
def state() -> LearnedState:
    rng = np.random.default_rng(0)
    base = (weights(rng, 8, 1.5), weights(rng, 8, 1.5), weights(rng, 4, 0.5))
    return LearnedState(3, 2, weights(rng, 2, 1.0), base)


def applied(layer: LoraWeights, x: np.ndarray) -> np.ndarray:
    return x + layer.scale * (x @ layer.a.T) @ layer.b


def test_the_layout_is_that_of_peft(state: LearnedState, tmp_path: Path) -> None:
    told = write_peft(state, tmp_path)
    assert (told["version"], told["base_layers"], told["base_rank"], told["micro_rank"]) == (3, 3, 8, 2)
    known = json.loads((tmp_path / "base" / "adapter_config.json").read_text())
    assert (known["peft_type"], known["r"], known["lora_alpha"], known["bias"]) == ("LORA", 8, 12.0, "none")
    assert known["target_modules"] == ["layers.0", "layers.1", "layers.2"]
    assert (known["rank_pattern"], known["alpha_pattern"]) == ({"layers.2": 4}, {"layers.2": 2.0})
    tensors = load_file(tmp_path / "base" / "adapter_model.safetensors")
    x = np.linspace(-1, 1, DIM).astype(np.float32)
    for number, layer in enumerate(state.base):
        a, b = (tensors[f"base_model.model.layers.{number}.lora_{factor}.weight"] for factor in "AB")
        rank = known["rank_pattern"].get(f"layers.{number}", known["r"])
        alpha = known["alpha_pattern"].get(f"layers.{number}", known["lora_alpha"])
        np.testing.assert_allclose(x + alpha / rank * (b @ (a @ x)), applied(layer, x), atol=1e-6)


@pytest.mark.skipif(find_spec("peft") is None, reason="peft, with torch, is not installed")
def test_peft_gives_the_same_numbers(state: LearnedState, tmp_path: Path) -> None:
    write_peft(state, tmp_path)
    x = np.random.default_rng(1).standard_normal((20, DIM)).astype(np.float32)
    for name, layers in {"base": state.base, "micro": (state.micro,)}.items():
        np.save(tmp_path / name / "x.npy", x)
        subprocess.run([sys.executable, "-c", LOADED + APPLY, str(tmp_path / name), str(len(layers))], check=True)
        expected = np.stack([applied(layer, x) for layer in layers])
        np.testing.assert_allclose(np.load(tmp_path / name / "y.npy"), expected, atol=2e-6)


def test_the_adapters_of_the_live_version_are_exported(database_url: str, tmp_path: Path) -> None:
    words = ["export", "adapters", "--output", str(tmp_path / "out"), "--url", database_url]
    rng = np.random.default_rng(0)
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as engine:
        assert "has learned nothing yet" in str(CliRunner().invoke(app, words).exception)
        for row in range(40):
            t = engine.begin_trajectory(rng.standard_normal(DIM).astype(np.float32))
            engine.add_step(t, np.eye(DIM, dtype=np.float32)[row % DIM], None, 0.5)
            engine.end_trajectory(t, float(row % 2))
        engine.force_learn()
        x = np.linspace(-1, 1, DIM).astype(np.float32)
        told = json.loads(CliRunner().invoke(app, words).stdout)
        expected = engine.apply_base_lora(0, x)
    tensors = load_file(tmp_path / "out" / "base" / "adapter_model.safetensors")
    known = json.loads((tmp_path / "out" / "base" / "adapter_config.json").read_text())
    a, b = (tensors[f"base_model.model.layers.0.lora_{factor}.weight"] for factor in "AB")
    assert told["version"] == 1
    assert np.abs(expected - x).max() > 1e-4
    np.testing.assert_allclose(x + known["lora_alpha"] / known["r"] * (b @ (a @ x)), expected, atol=1e-6)
