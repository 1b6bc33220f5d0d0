"""What a release is made of: the workflows call commands that exist, and the wheels are those that are promised."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.stem: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_make_target_of_a_workflow_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for text in WORKFLOWS.values() for name in re.findall(r"\bmake ([a-z-]+)", text)}
    assert named
    assert named <= targets


def test_the_workflows_may_read_the_sources_and_only_publishing_may_write():
    for name, text in WORKFLOWS.items():
        told = yaml.safe_load(text)
        assert told["permissions"] == {"contents": "read"}, name
        assert {job for job, known in told["jobs"].items() if "permissions" in known} <= {"publish"}


def test_the_wheels_are_those_of_the_versions_that_are_promised():
    built = {name.removeprefix("cp3").removesuffix("-*") for name in PROJECT["tool"]["cibuildwheel"]["build"]}
    promised = re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert built == {*promised, "14t"}


def test_the_license_and_the_policies_are_in_the_source_archive():
    carried = (ROOT / "MANIFEST.in").read_text()
    for name in ("SECURITY.md", "CHANGELOG.md"):
        assert name in carried
        assert (ROOT / name).is_file()
