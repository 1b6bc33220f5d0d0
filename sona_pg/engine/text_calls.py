"""Calls that take text: embed, record, answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.answer import Context, Response
from sona_pg.domain.embedder_probe import probe_of
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.engine.kind_teaching import fitted_weights
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import ConfigError, InvalidValue
from sona_pg.serving.arguments import as_labels, require_text
from sona_pg.text.embedder import Embedder, default_embedder


class TextCalls(EngineLifetime):
    """Calls about text; ``_embedder`` is the given one, or the default one once it was needed."""

    _embedder: Embedder | None
    _kinds_told = False

    def process(
        self,
        query: str,
        context: Context | Sequence[str] = (),
        *,
        route: str | None = None,
        quality: float | None = None,
        end: bool = True,
    ) -> Response:
        """Embed ``query``, record it as a trajectory, and return the knowledge about similar ones.

        The outcome, given here or by ``feedback(response.trajectory_id, ...)``, counts for the route that the caller
        names; a suggested route counts for nothing unless the caller takes it.

        Args:
            query: the text of the query.
            context: labels stored with the trajectory, user and session.
            route: the model or action that answers, if known by now.
            quality: of the answer, if known by now.
            end: whether the trajectory is complete. With False it stays open for ``set_trajectory_route``, ``add_step``
                and ``end_trajectory``, which take ``response.trajectory_id``.

        Raises:
            InvalidValue: the query is blank, its embedding is all 0, the context is not a list of texts, or a quality
                is given for a trajectory that is not ended here.
        """
        labels = as_labels(context)
        if quality is not None and not end:
            raise InvalidValue("quality= is told at the end: leave it to end_trajectory where end=False")
        embedding = self.embed([require_text(query, "query")])[0]
        serving = self._session.serving
        handle = self.begin_trajectory(embedding, query=query)
        for label in labels:
            self.add_trajectory_context(handle, label)
        if route is not None:
            self.set_trajectory_route(handle, route)
        if end:
            self.end_trajectory(handle, quality)
        patterns = self._session.patterns.of(serving).find_patterns(embedding, 3)
        suggested, expected, confidence = _expectation(patterns, route, self._session.ranker.retired.ids)
        return Response(
            trajectory_id=handle.id,
            query=query,
            embedding=embedding,
            adapted=self.apply_micro_lora(embedding),
            patterns=patterns,
            route=suggested,
            quality=expected,
            confidence=confidence,
            version=serving.version,
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of ``texts``, (n, dim) float32, by the engine's embedder.

        Raises:
            ConfigError: there is no embedder of the space's dimension; ``EmbedderChanged``: the space learns with
                another model than the default one.
            InvalidValue: ``texts`` is one text rather than a list.
        """
        if isinstance(texts, str):
            raise InvalidValue(f"texts={texts[:40]!r} is one text: expected a list of texts")
        if self._embedder is None:
            chosen = default_embedder()
            if chosen.dim != self.dim:
                raise ConfigError(
                    f"the default embedder gives {chosen.dim} dimensions, the space has {self.dim}: "
                    f"give another embedder, or open a space of dimension {chosen.dim}"
                )
            self._know_default(chosen)
            self._embedder = chosen
        self._tell_kinds(self._embedder)
        return self._embedder.embed(texts)

    def _take_embedder(self, embedder: Embedder) -> None:
        """Have the space know the embedder given at the opening; close the engine if the space has another one."""
        probe = probe_of(embedder.embed, embedder.dim)
        if probe is None:
            return
        try:
            self._session.take_embedder(probe)
        except BaseException:
            self.close()
            raise

    def _know_default(self, embedder: Embedder) -> None:
        """Refuse the default embedder where the space has another; have a space that has learned nothing know it."""
        session, probe = self._session, probe_of(embedder.embed, embedder.dim)
        if probe is None:
            return
        session.own_embedder.compare(probe)
        if session.is_attached and session.serving.version == 0:  # later, vectors may be the application's
            session.own_embedder.offer(probe)
            session.attend()

    def _tell_kinds(self, embedder: Embedder) -> None:
        """Have the space tell kinds of patterns by the embedder, once."""
        if not self._kinds_told and self._session.lacks_kinds:
            self._kinds_told = True
            weights = fitted_weights(embedder)
            if weights is not None:
                self._session.offer_kinds(weights)


def _expectation(
    patterns: Sequence[LearnedPattern], route: str | None, retired: Collection[str]
) -> tuple[str | None, float | None, float]:
    """Return the caller's route, else the nearest pattern's best that is not retired; its quality, the confidence."""
    if not patterns:
        return route, None, 0.0
    nearest = patterns[0]
    name, record = route, nearest.routes.get(route) if route is not None else None
    if route is None:
        name, record = nearest.best_of(one for one in nearest.routes if one not in retired) or (None, None)
    if record is None or not record.rated:
        return route, None, 0.0
    similarity = min(max(nearest.similarity or 0.0, 0.0), 1.0)
    return name, record.quality, similarity * record.weight / (record.weight + 1.0)
