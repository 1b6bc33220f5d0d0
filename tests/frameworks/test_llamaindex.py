"""The postprocessor for LlamaIndex reorders nodes, learns, and hides its key from prompts."""

from __future__ import annotations

import asyncio

import pytest
from fix_frameworks import require

require("llama_index")

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from sona_pg.integrations.llamaindex_reranker import SonaReranker

TEXTS = {"parcel": "where a parcel is", "refund": "how to get money back", "password": "how to change a password"}
ASKED = "the card was charged twice"


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(id_=id_, text=text), score=0.5) for id_, text in TEXTS.items()]


def test_the_best_nodes_come_first_with_scores_and_a_trajectory(engine):
    reranker = SonaReranker(engine, top_n=2)
    assert isinstance(reranker, BaseNodePostprocessor)
    given = nodes()
    found = reranker.postprocess_nodes(given, query_str="how to change my password")
    assert [found[0].node_id, len(found)] == ["password", 2]
    assert found[0].score >= found[1].score
    assert found[0].metadata["sona_trajectory"]
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert "sona_trajectory" not in found[0].node.get_content(mode)
    assert all("sona_trajectory" not in node.metadata for node in given)


def test_it_learns_from_corrections_also_on_asyncio(engine):
    reranker = SonaReranker(engine, top_n=1)
    for _ in range(6):
        found = asyncio.run(reranker.apostprocess_nodes(nodes(), QueryBundle(ASKED)))
        engine.feedback(found[0].metadata["sona_trajectory"], correction="refund")
    engine.force_learn()
    assert reranker.postprocess_nodes(nodes(), query_str=ASKED)[0].node_id == "refund"


def test_nodes_that_cannot_be_ranked_come_last_and_none_are_lost(engine):
    reranker = SonaReranker(engine, record=False)
    silent = NodeWithScore(node=TextNode(id_="silent", text="!?"), score=0.1)
    found = reranker.postprocess_nodes([silent, *nodes()], query_str="how to change my password")
    assert (found[0].node_id, found[-1].node_id, len(found)) == ("password", "silent", 4)
    assert "sona_trajectory" not in found[0].metadata
    assert [node.node_id for node in reranker.postprocess_nodes([silent], query_str="x")] == ["silent"]
    assert [node.node_id for node in reranker.postprocess_nodes(nodes(), query_str="!?")] == list(TEXTS)
    assert reranker.postprocess_nodes([], query_str="x") == []
    with pytest.raises(ValueError, match="a query is needed"):
        reranker.postprocess_nodes(nodes())
    assert SonaReranker.class_name() == "SonaReranker"
    assert reranker.to_dict()["top_n"] == 5
