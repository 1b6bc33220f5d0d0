"""Calls that take text: embed it, record it, answer it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.answer import Context, Response
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import ConfigError, InvalidValue
from sona_pg.serving.arguments import as_labels, require_text
from sona_pg.text.embedder import Embedder, default_embedder


class TextCalls(EngineLifetime):
    """Calls about text; ``_embedder`` is the one that was given, or the default one once it was needed."""

    _embedder: Embedder | None

    def process(self, query: str, context: Context | Sequence[str] = ()) -> Response:
        """Embed ``query``, record it as a trajectory, and say what is known of its like.

        Args:
            query: the text that is asked.
            context: labels that are stored with the trajectory.

        Raises:
            InvalidValue: the query says nothing, its embedding is all 0, or the context is no list of texts.
        """
        labels = as_labels(context)
        embedding = self.embed([require_text(query, "query")])[0]
        serving = self._session.serving
        handle = self.begin_trajectory(embedding, query=query)
        for label in labels:
            self.add_trajectory_context(handle, label)
        patterns = serving.find_patterns(embedding, 3)
        best = patterns.stored[0].best_route if patterns else None
        if best is not None:
            self.set_trajectory_route(handle, best[0])
        self.end_trajectory(handle)
        return Response(
            trajectory_id=handle.id,
            query=query,
            embedding=embedding,
            adapted=self.apply_micro_lora(embedding),
            patterns=patterns,
            route=None if best is None else best[0],
            quality=None if best is None else best[1].quality,
            version=serving.version,
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of ``texts``, (n, dim) float32, by the engine's embedder.

        Raises:
            ConfigError: there is no embedder of the space's dimension.
            InvalidValue: ``texts`` is one text rather than a list.
        """
        if isinstance(texts, str):
            raise InvalidValue(f"texts={texts[:40]!r} is one text: expected a list of texts")
        if self._embedder is None:
            chosen = default_embedder()
            if chosen.dim != self.dim:
                raise ConfigError(
                    f"the default embedder gives {chosen.dim} dimensions, the space has {self.dim}: "
                    f"pass embedder=, or open a space of dimension {chosen.dim}"
                )
            self._embedder = chosen
        return self._embedder.embed(texts)
