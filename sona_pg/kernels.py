"""The façade over the compiled kernels: the only module that imports `sona_pg._kernels`.

Everything is re-exported as it is, without a Python layer in between: a call costs less than a tenth of a
microsecond and a wrapper would double that. Types are in `_kernels.pyi`, `help()` shows the docstrings.

Arrays are C-contiguous NumPy arrays in native byte order, float32 unless it says otherwise; they may be
unaligned. An array of another type or layout raises `InvalidValue`, one of another dimension
`DimensionMismatch`. Outputs are allocated by the caller (`out=`) or on demand. An output must not overlap an
input unless the docstring says so.

LoRA has one layout everywhere: A (rank, d) and B (rank, d), both by rows, so B is the paper's B transposed.

The instruction set is chosen at import: the best of this CPU, or the one that SONA_PG_ISA names (avx512, avx2,
neon, scalar). Results differ between instruction sets by float32 rounding only, within the bounds that each
file of `cython_ext` states; conversions, checksums and COPY are identical.
"""

from __future__ import annotations

from sona_pg._kernels import (
    CandidateBlock,
    CentroidBlock,
    CopyDecoder,
    PriceWindow,
    RouterBlock,
    all_finite,
    available_isas,
    be_to_f32,
    crc32c,
    dot_rows,
    dream_walks,
    ewc_prox,
    exp_negative,
    f16_be_to_f32,
    f32_to_be,
    f32_to_f16_be,
    fisher_update,
    is_direction,
    isa,
    kmeans_assign,
    kmeans_fit,
    kmeans_lloyd,
    kmeans_plus_plus,
    kmeans_update,
    lora_backward,
    lora_forward,
    normalize_rows,
    prices_of,
    text_features,
    topk,
    use_isa,
)

__all__ = [
    "CandidateBlock",
    "CentroidBlock",
    "CopyDecoder",
    "PriceWindow",
    "RouterBlock",
    "all_finite",
    "available_isas",
    "be_to_f32",
    "crc32c",
    "dot_rows",
    "dream_walks",
    "ewc_prox",
    "exp_negative",
    "f16_be_to_f32",
    "f32_to_be",
    "f32_to_f16_be",
    "fisher_update",
    "is_direction",
    "isa",
    "kmeans_assign",
    "kmeans_fit",
    "kmeans_lloyd",
    "kmeans_plus_plus",
    "kmeans_update",
    "lora_backward",
    "lora_forward",
    "normalize_rows",
    "prices_of",
    "text_features",
    "topk",
    "use_isa",
]
