"""What SONA calls its settings, and what they are here."""

from __future__ import annotations

from collections.abc import Iterable

from sona_pg.errors import ConfigError

SETTINGS = {  # SONA's name in Python and Rust -> the setting here, and how it differs
    "embedding_dim": ("hidden_dim", "queries, activations and answers have one dimension"),
    "micro_lora_rank": ("micro.rank", ""),
    "base_lora_rank": ("base.rank", ""),
    "micro_lora_lr": ("micro.learning_rate", "a share of the gradient by which one trajectory moves its own output"),
    "base_lora_lr": ("base.learning_rate", "a share of the full step"),
    "ewc_lambda": ("ewc.lambda_", "in units of the raw Fisher information"),
    "pattern_clusters": ("patterns.clusters", ""),
    "trajectory_capacity": ("ingest.capacity", "those that wait to be written; Postgres keeps all"),
    "background_interval_ms": ("loops.background_interval", "in seconds; a cycle comes early when enough is new"),
    "quality_threshold": ("patterns.quality_threshold", "prunes patterns; bad outcomes are learned from as well"),
    "enable_simd": ("SONA_PG_ISA", "an environment variable; the best instruction set is chosen without it"),
}


def require_known(part: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ``ConfigError`` for a setting that ``part`` does not have, and say what SONA's is here.

    ``part`` is the name of the class, ``known`` those of its settings.
    """
    known = list(known)
    for name in names:
        if name in known:
            continue
        if name not in SETTINGS:
            raise ConfigError(f"{part} has no setting {name!r}: it has {', '.join(known)}")
        setting, difference = SETTINGS[name]
        told = f" ({difference})" if difference else ""
        raise ConfigError(
            f"{part} has no setting {name!r}: SONA's is {setting} here{told}; micro.rank is written "
            "SonaConfig(micro=MicroConfig(rank=2))"
        )
