"""Standalone adapters: both forward passes, merging, learning from signals, files."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from sona_pg.domain.state import LoraWeights
from sona_pg.domain.trajectory import QueryTrajectory, TrajectoryStep
from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue, LearningError, StorageError
from sona_pg.learning.adapters.signal import LearningSignal
from sona_pg.standalone.lora import BaseLoRA, MicroLoRA

RNG = np.random.default_rng(8)


def vector(dim: int) -> np.ndarray:
    values = RNG.standard_normal(dim).astype(np.float32)
    return values / np.linalg.norm(values)


def learned(rank: int, dim: int, scale: float = 1.0) -> LoraWeights:
    a, b = (RNG.standard_normal((2, rank, dim)) / np.sqrt(dim)).astype(np.float32)
    return LoraWeights(a, b, scale)


def cosine(a, b) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_it_starts_as_the_identity():
    x = vector(16)
    np.testing.assert_array_equal(MicroLoRA(16).forward_simd(x), x)
    np.testing.assert_array_equal(BaseLoRA(16, 4, 3).forward_layer(2, x), x)


@pytest.mark.parametrize("dim", [1, 7, 16, 97, 256])
@pytest.mark.parametrize("rank", [1, 2])
def test_the_kernel_agrees_with_the_readable_reference(dim, rank):
    micro = MicroLoRA(dim, rank, weights=learned(rank, dim, 0.6))
    x = vector(dim)
    np.testing.assert_allclose(micro.forward_simd(x), micro.forward_scalar(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 3, 8])
def test_a_micro_adapter_of_another_rank_is_an_error(rank):
    with pytest.raises(ConfigError, match="rank"):
        MicroLoRA(16, rank)


def test_its_shape_can_be_read():
    micro = MicroLoRA(16, 1)
    assert (micro.rank, micro.hidden_dim, micro.param_count, micro.scale) == (1, 16, 32, 1.0)
    micro.set_scale(0.5)
    assert micro.scale == 0.5
    with pytest.raises(InvalidValue):
        micro.set_scale(float("nan"))


def test_good_and_bad_feedback_move_the_output_in_opposite_directions_measurably():
    x, a = vector(256), vector(256)
    moved = []
    for quality in (0.85, 0.15):
        micro = MicroLoRA(256)
        for _ in range(5):
            micro.accumulate_gradient(LearningSignal.from_trajectory(QueryTrajectory(x, (TrajectoryStep(a),), quality)))
            assert micro.apply_accumulated() == 1
        moved.append(cosine(micro.forward_simd(x), a) - cosine(x, a))
    assert moved[0] > 1e-3
    assert moved[1] < -1e-3


def test_nothing_accumulated_changes_nothing_and_reset_forgets_all():
    x, micro = vector(8), MicroLoRA(8)
    assert micro.apply_accumulated() == 0
    micro.accumulate_gradient(LearningSignal(x, vector(8), 1.0, 1))
    micro.apply_accumulated(0.5)
    assert np.abs(micro.forward_simd(x) - x).max() > 1e-3
    micro.reset()
    np.testing.assert_array_equal(micro.forward_simd(x), x)


def test_wrong_dimensions_and_rates_are_refused():
    with pytest.raises(DimensionMismatch):
        MicroLoRA(8).forward_simd(vector(9))
    with pytest.raises(DimensionMismatch):
        MicroLoRA(8).accumulate_gradient(LearningSignal(vector(9), vector(9), 1.0, 1))
    with pytest.raises(ConfigError):
        MicroLoRA(8).apply_accumulated(0.0)
    with pytest.raises(InvalidValue):
        BaseLoRA(8, 2, 3).forward_layer(3, vector(8))


def test_the_merged_matrix_equals_the_layer():
    base = BaseLoRA(24, 4, 2, layers=[learned(4, 24), learned(4, 24)], alpha=2.0)
    assert (base.num_layers, base.rank, base.alpha) == (2, 4, 2.0)
    x, before = vector(24), RNG.standard_normal((24, 10)).astype(np.float32)
    np.testing.assert_allclose(base.merge_weights(1) @ x, base.forward_layer(1, x), atol=1e-5)
    z = vector(10)
    np.testing.assert_allclose(base.merge_weights(0, before) @ z, base.forward_layer(0, before @ z), atol=1e-4)


def test_a_base_adapter_survives_a_file(tmp_path):
    base = BaseLoRA(24, 4, 2, layers=[learned(4, 24), learned(4, 24)], alpha=3.0)
    base.save(tmp_path / "a.safetensors")
    again = BaseLoRA.load(tmp_path / "a.safetensors")
    assert again.alpha == 3.0
    for ours, theirs in zip(again.layers, base.layers, strict=True):
        np.testing.assert_array_equal(ours.a, theirs.a)
        np.testing.assert_array_equal(ours.b, theirs.b)


def test_files_that_are_not_ours_are_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match="none"):
        BaseLoRA.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StorageError, match="text"):
        BaseLoRA.load(tmp_path / "text")
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other")
    with pytest.raises(StorageError, match="format"):
        BaseLoRA.load(tmp_path / "other")
    BaseLoRA(4, 1, 1, layers=[LoraWeights(np.full((1, 4), np.nan, np.float32), np.zeros((1, 4), np.float32))]).save(
        tmp_path / "nan"
    )
    with pytest.raises(LearningError, match="not finite"):
        BaseLoRA.load(tmp_path / "nan")
    with pytest.raises(StorageError, match="written"):
        BaseLoRA(4).save(tmp_path / "no" / "folder")


def test_a_micro_adapter_survives_its_file(tmp_path):
    micro, x = MicroLoRA(8, 2, weights=learned(2, 8, 0.5)), vector(8)
    micro.save(tmp_path / "micro.safetensors")
    again = MicroLoRA.load(tmp_path / "micro.safetensors")
    assert (again.rank, again.hidden_dim, again.scale) == (2, 8, 0.5)
    np.testing.assert_array_equal(again.forward_simd(x), micro.forward_simd(x))
    with pytest.raises(StorageError, match="no base adapter"):
        BaseLoRA.load(tmp_path / "micro.safetensors")
    BaseLoRA(8, 4, 2).save(tmp_path / "base.safetensors")
    with pytest.raises(StorageError, match="no micro adapter"):
        MicroLoRA.load(tmp_path / "base.safetensors")
