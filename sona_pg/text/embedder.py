"""Embedders: map texts to unit vectors of a fixed dimension."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue


@runtime_checkable
class Embedder(Protocol):
    """Interface of an embedding model."""

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector a text, (n, dim) float32."""


class WordLlamaEmbedder:
    """`wordllama`: 256-dimensional token embeddings, offline, on NumPy (extra ``text``)."""

    dim = 256

    def __init__(self) -> None:
        """Load the weights bundled with the package.

        Raises:
            ConfigError: the package is not installed.
        """
        root = logging.getLogger()
        before = (root.handlers[:], root.level)
        try:
            from wordllama import WordLlama
        except ImportError as exc:
            raise ConfigError("text needs an embedder: pip install 'sona-pg[text]', or give an embedder") from exc
        finally:  # importing it configures the application's root logger: restore that
            root.handlers[:], level = before
            root.setLevel(level)
        folder = str(files("wordllama"))
        self._model: Any = WordLlama.load(cache_dir=folder, disable_download=True)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector a text, (n, 256) float32; a text without known tokens gives zeros."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        vectors = np.asarray(self._model.embed(list(texts)), np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(norms > 0, norms, 1.0), np.float32)


class CallableEmbedder:
    """Adapter for a function from a list of texts to an array, such as ``SentenceTransformer(...).encode``."""

    def __init__(self, function: Callable[[list[str]], Any], dim: int) -> None:
        """Wrap ``function``, whose vectors have ``dim`` elements."""
        self._function = function
        self.dim = dim

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector a text, (n, dim) float32.

        Raises:
            InvalidValue: the function returned a wrong number of vectors, or non-finite values.
            DimensionMismatch: its vectors have another dimension than ``dim``.
        """
        vectors = np.atleast_2d(np.asarray(self._function(list(texts)), np.float32))
        if len(vectors) != len(texts):
            raise InvalidValue(f"the embedder gave {len(vectors)} vectors for {len(texts)} texts: expected one each")
        if vectors.shape[1] != self.dim:
            raise DimensionMismatch(self.dim, vectors.shape[1])
        if not np.isfinite(vectors).all():
            raise InvalidValue("the embedder gave values that are not finite: check the model and the text")
        return vectors


def default_embedder() -> Embedder:
    """Return the embedder of extra ``text``."""
    return WordLlamaEmbedder()
