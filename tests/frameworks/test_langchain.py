"""The retriever for LangChain passes LangChain's own contract tests, and learns."""

from __future__ import annotations

import psycopg
import pytest
from fix_frameworks import require

require("langchain_core")

from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

from sona_pg.integrations.langchain_retriever import SonaRetriever

PAGES = [
    Document(id="parcel", page_content="where a parcel is", metadata={"page": 1}),
    Document(id="refund", page_content="how to get money back", metadata={"page": 2}),
    Document(id="password", page_content="how to change a password", metadata={"page": 3}),
    Document(id="voucher", page_content="how to pay with a voucher", metadata={"page": 4}),
]


class TestContract(RetrieversIntegrationTests):
    """LangChain's standard tests."""

    @pytest.fixture(autouse=True)
    def _documents(self, engine):
        self._params = {"engine": engine}
        SonaRetriever(engine=engine).add_documents(PAGES)

    @property
    def retriever_constructor(self) -> type[SonaRetriever]:
        return SonaRetriever

    @property
    def retriever_constructor_params(self) -> dict:
        return self._params

    @property
    def retriever_query_example(self) -> str:
        return "how to pay"


def test_a_correction_brings_the_right_document_first(engine):
    retriever = SonaRetriever(engine=engine, k=2)
    assert retriever.add_documents(PAGES) == [page.id for page in PAGES]
    asked = "the card was charged twice"
    for _ in range(6):
        found = retriever.invoke(asked)
        engine.feedback(found[0].metadata["sona_trajectory"], correction="refund")
    engine.force_learn()
    best = retriever.invoke(asked)[0]
    assert (best.id, best.page_content, best.metadata["page"]) == ("refund", "how to get money back", 2)


def test_nothing_is_found_in_an_empty_space_and_for_words_nobody_knows(engine):
    retriever = SonaRetriever(engine=engine)
    assert retriever.invoke("anything") == []
    retriever.add_documents(PAGES)
    assert retriever.invoke("!?") == []


def test_a_deleted_document_is_not_found_and_others_take_its_place(engine):
    retriever = SonaRetriever(engine=engine, k=2)
    retriever.add_documents(PAGES)
    assert retriever.delete(["voucher", "nobody"]) == 1
    assert retriever.invoke("how to pay with a voucher")[0].id != "voucher"
    assert len(retriever.invoke("how to pay with a voucher")) == 2
    assert len(retriever.invoke("how to pay with a voucher", k=9)) == 3


def test_neighbours_of_a_match_come_with_it_and_recording_can_be_off(engine, database_url):
    retriever = SonaRetriever(engine=engine, k=2, neighbours=True, record=False)
    turns = [
        Document(id=f"t{n}", page_content=text) for n, text in enumerate(["hello", "where is my parcel", "in Rome"])
    ]
    retriever.add_documents(turns, group="talk")
    retriever.add_documents(PAGES[2:])
    found = retriever.invoke("where is my parcel")
    assert (found[0].id, found[1].id in ("t0", "t2")) == ("t1", True)
    assert "sona_trajectory" not in found[0].metadata
    engine.flush()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM sona.trajectories").fetchone() == (0,)
