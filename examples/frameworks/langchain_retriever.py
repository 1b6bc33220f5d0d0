"""LangChain: a retriever whose documents are found by what feedback has taught.

Run it: python examples/frameworks/langchain_retriever.py (extras embedded, text, langchain; or set SONA_PG_URL).
"""

from __future__ import annotations

from langchain_core.documents import Document

from sona_pg import SonaEngine
from sona_pg.integrations.langchain_retriever import SonaRetriever

PAGES = {
    "logistics": "Logistics desk",
    "ledger": "Ledger corrections",
    "identity": "Identity portal",
}
ASKED = "i want my money back"


def main() -> None:
    """Ask, correct, learn, ask again."""
    with SonaEngine(hidden_dim=256, space="example-langchain") as engine:
        retriever = SonaRetriever(engine=engine, k=2)
        retriever.add_documents([Document(id=id_, page_content=text) for id_, text in PAGES.items()])
        print("before:", retriever.invoke(ASKED)[0].page_content)
        for _ in range(6):
            best = retriever.invoke(ASKED)[0]
            engine.feedback(best.metadata["sona_trajectory"], correction="ledger")  # the page that helped
        engine.force_learn()  # servers do this by themselves; here it must not wait for its time
        print("after:", retriever.invoke("please give me my money back")[0].page_content)


if __name__ == "__main__":
    main()
