"""LlamaIndex: a node postprocessor that reorders nodes by learned ranking (extra ``llamaindex``)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from sona_pg.engine import SonaEngine
from sona_pg.integrations.text_candidates import record_shown

MOST_KNOWN = 100_000  # ids of nodes that a process remembers to have stored
TRAJECTORY = "sona_trajectory"  # key of the metadata, hidden from models


class SonaReranker(BaseNodePostprocessor):
    """Reorders retrieved nodes by what feedback has taught, and keeps the first ``top_n``.

    The metadata of a returned node have ``sona_trajectory``, which no prompt and no embedding sees:
    ``engine.feedback(trajectory, quality)`` rates the first node, ``correction=node.node_id`` names the right one.
    """

    top_n: int = 5
    record: bool = True
    _engine: SonaEngine = PrivateAttr()
    _known: OrderedDict[str, None] = PrivateAttr()

    def __init__(self, engine: SonaEngine, **fields: Any) -> None:
        """Rank in the space of ``engine``; ``top_n`` and ``record`` are fields."""
        super().__init__(**fields)
        self._engine = engine
        self._known = OrderedDict()

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises it."""
        return "SonaReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        if query_bundle is None:
            raise ValueError("a query is needed: call postprocess_nodes(nodes, query_str=…)")
        query = query_bundle.query_str
        vector = self._engine.embed([query])[0]
        by_id = {node.node_id: node for node in nodes}
        self._remember(list(by_id.values()))
        ranked = [id_ for id_ in by_id if id_ in self._known]
        if not ranked or not vector.any():
            return nodes[: self.top_n]
        ranking = self._engine.rank(vector, ids=ranked, k=len(ranked))
        scores = dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))
        scores |= {id_: float("-inf") for id_ in by_id if id_ not in scores}
        shown = list(scores.items())[: self.top_n]
        trajectory = record_shown(self._engine, query, vector, ranking, shown[0][0]) if self.record else None
        return [_scored(by_id[id_], score, None if trajectory is None else str(trajectory)) for id_, score in shown]

    def _remember(self, nodes: Sequence[NodeWithScore]) -> None:
        """Store the embeddings of nodes that this process has not stored yet."""
        new = [node for node in nodes if node.node_id not in self._known]
        if not new:
            return
        vectors = self._engine.embed([node.node.get_content(MetadataMode.EMBED) for node in new])
        known = [(node.node_id, row) for node, row in zip(new, vectors, strict=True) if row.any()]
        if known:
            self._engine.remember([id_ for id_, _ in known], np.stack([row for _, row in known]))
        self._known.update({id_: None for id_, _ in known})
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def _scored(found: NodeWithScore, score: float, trajectory: str | None) -> NodeWithScore:
    """Return a copy of a node with its score and the trajectory."""
    node = found.node.model_copy()
    if trajectory is not None:
        node.metadata = {**node.metadata, TRAJECTORY: trajectory}
        node.excluded_llm_metadata_keys = [*node.excluded_llm_metadata_keys, TRAJECTORY]
        node.excluded_embed_metadata_keys = [*node.excluded_embed_metadata_keys, TRAJECTORY]
    return NodeWithScore(node=node, score=score)
