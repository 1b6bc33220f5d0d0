"""Names of ``import sona_pg``, and the modules it does not load."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

import sona_pg
from sona_pg import errors


def test_every_public_name_is_there() -> None:
    assert sorted(sona_pg.__all__) == sona_pg.__all__
    for name in sona_pg.__all__:
        assert getattr(sona_pg, name).__class__
    assert dir(sona_pg) == sona_pg.__all__


@pytest.mark.parametrize("made", [sona_pg.SonaEngine, sona_pg.Store])
def test_every_type_that_a_call_returns_can_be_named(made: type) -> None:
    members = [inspect.getattr_static(made, name) for name in dir(made) if not name.startswith("_")]
    calls = [getattr(getattr(member, "fget", member), "__func__", member) for member in members]
    returned = {str(getattr(call, "__annotations__", {}).get("return")) for call in calls}
    ours = {name for told in returned for name in re.findall(r"\b[A-Z]\w+", told)}
    foreign = {"Any", "Mapping", "NDArray", "None", "Self", "UUID", "KeyStore", "TelemetryStore"}
    assert ours - foreign - set(sona_pg.__all__) == set()


def test_answers_print_in_a_few_words() -> None:
    long = np.ones(512, np.float32)
    response = sona_pg.Response(UUID(int=1), "why?", long, long)
    decision = sona_pg.Decision("a", 1.0, {"a": 0.5}, 1, account=object())  # type: ignore[arg-type]
    assert "array" not in repr(response)
    assert "object at" not in repr(decision)
    assert max(map(len, map(repr, (response, decision)))) < 300


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        sona_pg.Nothing  # noqa: B018


def test_importing_it_loads_no_driver() -> None:
    script = "import sys, sona_pg; print(sorted({'sqlalchemy', 'psycopg', 'alembic', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("built", [False, True])
def test_a_source_tree_that_is_not_installed_says_what_to_do(built: bool, database_url: str, tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns(*([] if built else ["*.so"]), "pages")
    shutil.copytree(Path(sona_pg.__file__).parent, tmp_path / "sona_pg", ignore=left_out)
    script = f"from sona_pg import SonaEngine; SonaEngine(8, {database_url!r})"
    packages = str(Path(np.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],  # -S: an editable installation is not found either
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": packages}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "run `pip install -e .` in the clone, or start Python in another folder" in done.stderr, done.stderr


# The names of DESIGN section 10.
NAMES = {
    "SonaEngine": """builder with_config begin_trajectory add_step add_trajectory_step set_trajectory_route
        add_trajectory_context end_trajectory apply_micro_lora apply_base_lora tick force_learn flush find_patterns
        get_stats set_enabled is_enabled process background_learn deep_learn metrics save load""",
    "LearningSignal": "from_trajectory with_gradient",
    "QueryTrajectory": "",
    "TrajectoryStep": "",
    "LearnedPattern": "merge decay should_prune",
    "MicroLoRA": """forward_simd forward_scalar accumulate_gradient apply_accumulated reset rank hidden_dim param_count
        scale set_scale save load""",
    "BaseLoRA": "forward_layer merge_weights num_layers rank alpha set_alpha save load",
    "TrajectoryBuffer": "record drain len is_empty",
    "TrajectoryBuilder": "add_step build step_count elapsed",
    "InstantLoop": "on_inference flush_updates drain_trajectories micro_lora metrics",
    "BackgroundLoop": "run_cycle reasoning_bank ewc base_lora",
    "LoopCoordinator": "",
    "DeepLoop": "run_cycle dream_engine",
    "DeepResult": "as_dict",
    "DreamEngine": "add_memory_node generate_dream generate_dreams integrate_dream node_count",
    "Dream": "phi",
    "MemoryNode": "",
    "DreamConfig": "",
    "ReasoningBank": """add_trajectory extract_patterns trajectory_count clear get_pattern judge
        interpolate_parameters""",
    "EwcPlusPlus": """apply_constraints update_fisher detect_task_boundary start_new_task consolidate_all_tasks lambda_
        set_lambda task_count""",
    "Context": "",
    "Response": "",
    "SonaConfig": "max_throughput max_quality edge_deployment batch_processing",
    "MicroConfig": "",
    "BaseConfig": "",
    "EwcConfig": "",
    "PatternConfig": "",
    "IngestConfig": "",
    "LoopConfig": "",
    "MaintenanceConfig": "",
}
ERRORS = """ConfigError StorageError DatabaseError PatternExtractionError LearningError MemoryGraphError
    DimensionMismatch InvalidValue TrajectoryError NotFound Conflict Unavailable SettingsConflict SpaceExists
    SpaceRemoved UnknownSpace UnknownVersion"""


@pytest.mark.parametrize("name", NAMES)
def test_the_names_users_know_are_exported_and_documented(name: str) -> None:
    exported = getattr(sona_pg, name)
    assert name in sona_pg.__all__
    assert exported.__doc__
    for method in NAMES[name].split():
        assert getattr(exported, method).__doc__, method


def test_every_error_is_a_sona_error() -> None:
    for name in ERRORS.split():
        assert issubclass(getattr(sona_pg, name), sona_pg.SonaError)
    mismatch = sona_pg.DimensionMismatch(3, 4)
    assert (mismatch.expected, mismatch.actual) == (3, 4)


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        ("DatabaseUnavailable", "DatabaseError Unavailable"),
        ("LearningConflict", "LearningError Conflict"),
        ("UnknownSpace", "DatabaseError NotFound"),
        ("SpaceRemoved", "DatabaseError NotFound"),
        ("UnknownVersion", "DatabaseError NotFound"),
        ("SpaceExists", "DatabaseError Conflict"),
        ("SettingsConflict", "ConfigError Conflict"),
        ("DimensionMismatch", "InvalidValue"),
        ("UnknownCandidate", "InvalidValue NotFound"),
    ],
)
def test_an_error_has_the_class_a_service_needs_and_is_caught_as_before(error: str, kinds: str) -> None:
    for kind in kinds.split():
        assert issubclass(getattr(errors, error), getattr(errors, kind))


def test_every_package_is_shipped():
    project = Path(__file__).parents[1]
    listed = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(project).parts) for path in (project / "sona_pg").rglob("__init__.py")}
    assert found <= set(listed)
