"""From text to embeddings."""

from sona_pg.text.embedder import CallableEmbedder, Embedder, WordLlamaEmbedder, default_embedder

__all__ = ["CallableEmbedder", "Embedder", "WordLlamaEmbedder", "default_embedder"]
