"""LangGraph: long-term memory of a graph in Postgres, found by what ratings have taught.

Run it: python examples/frameworks/langgraph_store.py (extras embedded, text, langgraph, and package langgraph; or set
SONA_PG_URL).
"""

from __future__ import annotations

from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.store.base import BaseStore

from sona_pg import SonaEngine
from sona_pg.integrations.langgraph_store import SonaStore

FACTS = {"mia": "Mia is the sister", "rex": "Rex is the dog", "bob": "Bob is the boss"}


def answer(state: MessagesState, *, store: BaseStore) -> dict[str, list[tuple[str, str]]]:
    """Answer with the fact that fits best."""
    found = store.search(("facts",), query=str(state["messages"][-1].content), limit=1)
    return {"messages": [("ai", found[0].value["text"])]}


def main() -> None:
    """Remember facts, ask, rate, learn, ask again."""
    with SonaEngine(hidden_dim=256, space="example-langgraph") as engine:
        store = SonaStore(engine, fields=["text"])
        for key, text in FACTS.items():
            store.put(("facts",), key, {"text": text})
        graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)
        compiled = graph.compile(store=store)
        for asked in ("who wants a walk?", "who barks at night?", "who eats from the floor?") * 2:
            store.rate(("facts",), "rex", asked, quality=1.0)
            store.rate(("facts",), "mia", asked, quality=0.0)
        engine.force_learn()  # servers do this by themselves; here it must not wait for its time
        done = compiled.invoke({"messages": [("user", "who barks and wants a walk?")]})
        print(done["messages"][-1].content)


if __name__ == "__main__":
    main()
