"""ParetoBandit (PyPI ``paretobandit``) on the same stream: the same embeddings, rewards and real costs.

Set up as in its repository's ``experiments/01_stationary_budget_pacing``: its PCA of the same embeddings, the
hyper-parameters that it was tuned to with and without priors, adaptive pacing by real costs, no fixed price of cost.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.eval.money_data import Prompts

# Its own portfolio, in the order of ``money_data.MODELS``.
ARMS = ("meta-llama/llama-3.1-8b-instruct", "mistralai/mistral-large-2512", "google/gemini-2.5-pro")


def installed() -> bool:
    """Return whether the peer can be imported."""
    try:
        importlib.import_module("pareto_bandit")
    except ImportError:
        return False
    return True


def choices(prompts: Prompts, budget: float, seed: int, priors: str) -> NDArray[np.int64]:
    """Return the model that ParetoBandit chose for each prompt.

    Args:
        prompts: in order.
        budget: dollars a request.
        seed: of its bandit.
        priors: "warmup", those it ships for these very models, or "none".
    """
    pareto = importlib.import_module("pareto_bandit")
    tuned = importlib.import_module("pareto_bandit.config")
    features = importlib.import_module("pareto_bandit.feature_service")
    pacing = importlib.import_module("pareto_bandit.budget_pacer")
    logging.getLogger("pareto_bandit").setLevel(logging.ERROR)
    by_text = {str(text): row for row, text in enumerate(prompts.texts)}
    artifacts = importlib.import_module("pareto_bandit.data.artifacts".rpartition(".")[0]).__path__[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its projection was pickled by another release of scikit-learn
        service = features.FeatureService(
            custom_encoder=lambda text: prompts.embeddings[by_text[text]],
            embedding_dim=prompts.embeddings.shape[1],
            pca_path=f"{artifacts}/artifacts/pca_25.joblib",
        )
        router: Any = pareto.BanditRouter.create(
            priors=priors, feature_service=service, budget_pacer=pacing.BudgetPacer(budget), bandit_seed=seed,
            cost_penalty=0.0,  # by default it also has a fixed price of cost: its paper's experiments do not
            **(tuned.BEST_K3_TABULA_RASA_HPARAMS if priors == "none" else tuned.BEST_K3_HPARAMS),
        )  # fmt: skip
    chosen = np.zeros(len(prompts), np.int64)
    for row, text in enumerate(prompts.texts):
        name, log = router.route(str(text))
        chosen[row] = ARMS.index(name)
        log.cost_usd = float(prompts.cost[row, chosen[row]])  # what was really paid, not its estimate
        router.process_feedback(log.request_id, float(prompts.reward[row, chosen[row]]))
    return chosen
