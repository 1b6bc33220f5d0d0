"""docs/http.md is true: each request in it is answered, each command exists, each figure of an alert is served."""

from __future__ import annotations

import json
import re
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from sona_pg.cli.commands import app as command_line
from sona_pg.cli.worker_figures import FIGURES
from sona_pg.service import metrics_text
from tests.service.conftest import DIM, serving

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "docs" / "http.md").read_text(), re.MULTILINE | re.DOTALL)

OPTIONAL = {"/retracted: missing", "/vector: missing", "/vectors: missing"}


def departures(value, schema, schemas, at=""):
    """Tell where an answer has fields that its schema does not declare, or lacks some: clients' types have them all."""
    schema = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, list) and "items" in schema:
        return [one for row in value for one in departures(row, schema["items"], schemas, f"{at}/*")]
    if not isinstance(value, dict):
        return []
    if "anyOf" in schema:
        return min((departures(value, one, schemas, at) for one in schema["anyOf"]), key=len)
    if "properties" not in schema:
        values = schema.get("additionalProperties")
        rows = value.values() if isinstance(values, dict) else []
        return [one for row in rows for one in departures(row, values, schemas, f"{at}/*")]
    known = schema["properties"]
    free = schema.get("additionalProperties") is True
    found = [f"{at}/{name}: not declared" for name in value if name not in known and not free]
    found += [f"{at}/{name}: missing" for name in known if name not in value]
    return found + [
        one for name in known if name in value for one in departures(value[name], known[name], schemas, f"{at}/{name}")
    ]


def test_each_request_of_the_docs_is_answered_with_the_fields_of_its_schema(service_url):
    known: dict[str, str] = {}
    asked = set()
    wrong: dict[str, list[str]] = {}
    with serving(service_url) as service:
        described = service.get("/openapi.json").json()
        schemas = described["components"]["schemas"]
        for _, block in [block for block in BLOCKS if block[0] == "http"]:
            first, _, body = block.strip().partition("\n")
            for name, value in known.items():
                first, body = (text.replace(f"{{{name}}}", value) for text in (first, body))
            method, path = first.split()
            service.engine.flush()
            answer = service.ask(method, path, **({"json": json.loads(body)} if body else {}))
            assert answer.status_code in (200, 201, 202), (first, answer.text)
            known.update({name: value for name, value in answer.json().items() if name in ("id", "trajectoryId")})
            template = path.partition("?")[0].replace(known.get("id", "-"), "{trajectory}")
            asked.add(template)
            told = described["paths"][template][method.lower()]["responses"][str(answer.status_code)]["content"]
            if found := departures(answer.json(), told["application/json"]["schema"], schemas):
                wrong[f"{method} {path}"] = sorted(set(found) - OPTIONAL)
        wrong = {call: found for call, found in wrong.items() if found}
        assert not wrong, json.dumps(wrong, indent=1)
        paths = described["paths"]
        assert asked <= paths.keys()
    for path in paths:  # and every path is named
        assert path.replace("{trajectory}", "{id}").rpartition("/")[2] in (ROOT / "docs" / "http.md").read_text(), path


def test_the_body_by_columns_and_that_of_a_receipt_are_taken(service_url):
    (told,) = [json.loads(block.replace(", …]", "]")) for language, block in BLOCKS if language == "json"]
    with serving(service_url) as service:
        rest = [0.0] * (DIM - 2)
        body = told | {"vectors": [row + rest for row in told["vectors"]]}
        assert len(service.post("/v1/trajectories/columns", body).json()["ids"]) == 2
        service.post("/v1/trajectories", {"vector": [1.0] * DIM, "context": ["user:of the docs"]})
        service.engine.flush()
        receipt = service.post("/v1/forget", {"user": "of the docs"}).json()
        assert service.post("/v1/forget/verify", {"receipt": receipt}).json() == {"genuine": True}


def test_each_command_of_the_docs_exists(service_url):
    for _, block in [block for block in BLOCKS if block[0] == "sh"]:
        for line in block.splitlines():
            words = line.split()
            if words[0] == "sona-pg":
                command = get_command(command_line)
                for word in words[1:3]:
                    command = getattr(command, "commands", {}).get(word, command)
                options = {option for parameter in command.params for option in parameter.opts}
                assert {word for word in words if word.startswith("--")} <= options, line
    assert CliRunner().invoke(command_line, ["serve", "--help"]).exit_code == 0


def test_each_figure_of_an_alert_is_served(service):
    told = (ROOT / "docker" / "prometheus-alerts.yml").read_text()
    service.get("/v1/stats")
    others = [*FIGURES, *metrics_text.UPKEEP.values()]  # of workers, and of dumps, of which there was none
    figures = service.get("/metrics").text + "".join(f"\n# TYPE {name} " for name, *_ in others)
    for name in set(re.findall(r"\b(sona_[a-z_]+)\b", re.sub(r"rule_files.*", "", told))):
        assert f"\n# TYPE {name} " in figures, name
