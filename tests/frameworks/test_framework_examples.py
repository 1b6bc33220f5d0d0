"""The examples of frameworks run offline as they stand, and print the documented output; the page names each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fix_frameworks import require

for package in ("wordllama", "langchain_core", "langgraph", "litellm", "llama_index", "mcp", "agents"):
    require(package)

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "frameworks"
BEST = "say hello: small\nprove this theorem: large\n"
TOLD = {
    "langchain_retriever": "after: Ledger corrections\n",
    "llamaindex_reranker": "Identity portal\n",
    "langgraph_store": "Rex is the dog\n",
    "litellm_routing": BEST,
    "agents_provider": BEST,
    "mcp_memory": "Mia is my sister\n",
}


@pytest.mark.parametrize("name", TOLD)
def test_an_example_prints_what_was_learned(name: str, database_url: str) -> None:
    environment = os.environ | {"SONA_PG_URL": database_url, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(TOLD[name]), done.stdout


def test_there_is_a_test_of_every_example_and_the_page_names_it() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(TOLD)
    page = (ROOT / "docs" / "frameworks.md").read_text()
    assert [name for name in TOLD if f"(../examples/frameworks/{name}.py)" not in page] == []
