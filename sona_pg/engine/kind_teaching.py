"""Kinds of patterns by a space's own embedder: fitted to examples when the embedder is first used."""

from __future__ import annotations

import logging

import numpy as np

from sona_pg.learning.patterns.kind_model import KindModel
from sona_pg.text.embedder import Embedder
from sona_pg.text.kind_examples import EXAMPLES

log = logging.getLogger(__name__)


def fitted_weights(embedder: Embedder) -> bytes | None:
    """Return the weights by which the embeddings of ``embedder`` tell kinds, or None if they do not."""
    texts = [text for examples in EXAMPLES.values() for text in examples]
    try:
        embeddings = np.asarray(embedder.embed(texts), np.float32)
    except Exception:  # the caller's code: what it cannot embed here must not keep it from its own queries
        log.warning("the embedder cannot embed the examples of kinds: these are told by words alone", exc_info=True)
        return None
    if embeddings.shape != (len(texts), embedder.dim) or not np.isfinite(embeddings).all():
        return None
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows = np.asarray(embeddings / np.where(lengths > 0, lengths, np.float32(1.0)), np.float32)
    model = KindModel.fitted(rows, [kind for kind, examples in EXAMPLES.items() for _ in examples])
    return None if model is None else model.to_bytes()
