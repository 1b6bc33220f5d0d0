"""LangChain: a retriever over stored texts that learns from feedback (extra ``langchain``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from sona_pg.engine import SonaEngine
from sona_pg.integrations.text_candidates import find_texts, remember_texts


class SonaRetriever(BaseRetriever):
    """Returns the stored texts that are most likely meant.

    A document's metadata has ``sona_trajectory``: ``engine.feedback(trajectory, quality)`` rates the first document,
    ``engine.feedback(trajectory, correction=document.id)`` names the one that was right. From either it learns.
    """

    engine: SonaEngine
    k: int = 4
    neighbours: bool = False  # also the parts around a match in its group, as SonaEngine.recall finds them
    record: bool = True  # a trajectory for each query; without one nothing is learned

    def add_documents(self, documents: Sequence[Document], *, group: str | None = None) -> list[str]:
        """Store documents and return their ids; one with an id that is stored replaces it.

        Args:
            documents: texts with metadata that JSON can hold.
            group: document or conversation that they are parts of, in this order.
        """
        contents = {
            document.id or str(uuid4()): {"text": document.page_content, "metadata": document.metadata}
            for document in documents
        }
        remember_texts(self.engine, contents, group=group)
        return list(contents)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; return how many there were."""
        return self.engine.drop_contents(ids)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        shown, trajectory = find_texts(
            self.engine, query, k or self.k, neighbours=self.neighbours, record=self.record
        )  # fmt: skip
        documents = []
        for one in shown:
            metadata: dict[str, Any] = {**one.stored.content.get("metadata", {}), "sona_score": one.score}
            if trajectory is not None:
                metadata["sona_trajectory"] = str(trajectory)
            documents.append(Document(id=one.stored.id, page_content=one.text, metadata=metadata))
        return documents
