"""LlamaIndex: nodes that any retriever has found, reordered by what feedback has taught.

Run it: python examples/frameworks/llamaindex_reranker.py (extras embedded, text, llamaindex; or set SONA_PG_URL).
"""

from __future__ import annotations

from llama_index.core.schema import NodeWithScore, TextNode

from sona_pg import SonaEngine
from sona_pg.integrations.llamaindex_reranker import SonaReranker

PAGES = {
    "logistics": "Logistics desk",
    "ledger": "Ledger corrections",
    "identity": "Identity portal",
}
NODES = [NodeWithScore(node=TextNode(id_=id_, text=text), score=0.5) for id_, text in PAGES.items()]


def main() -> None:
    """Rerank, correct, learn, rerank again."""
    with SonaEngine(hidden_dim=256, space="example-llamaindex") as engine:
        reranker = SonaReranker(engine, top_n=1)  # index.as_query_engine(node_postprocessors=[reranker])
        for asked in ("cannot log in", "i forgot my password", "i am locked out") * 3:
            best = reranker.postprocess_nodes(NODES, query_str=asked)[0]
            engine.feedback(best.metadata["sona_trajectory"], correction="identity")
        engine.force_learn()  # servers do this by themselves; here it must not wait for its time
        print(reranker.postprocess_nodes(NODES, query_str="log in with a new password")[0].text)


if __name__ == "__main__":
    main()
