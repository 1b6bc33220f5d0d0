"""docker/production holds together: options exist, files are there, Prometheus asks where something answers."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from sona_pg.cli.commands import app

FOLDER = Path(__file__).parent.parent / "docker" / "production"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.mark.parametrize("name", ["upgrade", "server-1", "server-2", "worker"])
def test_the_commands_of_the_services_exist(name):
    words = SERVICES[name]["command"]
    command = get_command(app).commands[words[0]]
    if hasattr(command, "commands"):
        command = command.commands[words[1]]
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_servers_and_workers_speak_to_the_pooler_and_do_not_migrate():
    for name in ("server-1", "server-2", "worker"):
        told = SERVICES[name]["environment"]
        assert "@pgbouncer:6432/" in told["SONA_PG_URL"]
        assert told["SONA_PG_MIGRATE"] == "check"
    pooler = (FOLDER / "pgbouncer.ini").read_text()
    assert "listen_port = 6432" in pooler
    assert "pool_mode = transaction" in pooler


def test_nothing_is_reachable_from_another_machine():
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_file_and_volume_that_is_named_is_there():
    assert (FOLDER / "Dockerfile").is_file()
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (FOLDER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_prometheus_asks_every_server_and_worker_where_it_answers():
    told = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    servers, workers = told["scrape_configs"]
    (targets,) = servers["static_configs"]
    names = [name for name in SERVICES if name.startswith("server-")]
    ports = {SERVICES[name]["command"][SERVICES[name]["command"].index("--metrics") + 1] for name in names}
    assert targets["targets"] == [f"{name}:{port}" for name in names for port in ports]
    (found,) = workers["dns_sd_configs"]
    command = SERVICES["worker"]["command"]
    assert found["names"] == ["worker"]
    assert str(found["port"]) == command[command.index("--metrics") + 1]
    mounted = dict(volume.split(":")[1::-1] for volume in SERVICES["prometheus"]["volumes"])
    (rules,) = told["rule_files"]
    text = (FOLDER / mounted[f"/etc/prometheus/{rules}"]).read_text()
    assert {"SonaLearningStopped", "SonaWorkerStalls"} <= set(re.findall(r"alert: (\w+)", text))
    (absent,) = re.findall(r'expr: absent\(up\{job="(.*)"\}\)', text)
    assert absent == workers["job_name"]  # its targets vanish from the DNS when they die
    (watched,) = re.findall(r'expr: up\{job=~"(.*)"\} == 0', text)
    assert all(re.fullmatch(watched, job["job_name"]) for job in (servers, workers))


def test_a_failing_retention_does_not_keep_the_nightly_job_from_its_backup():
    unit = (FOLDER / "systemd" / "sona-pg-nightly.service").read_text()
    steps = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    (dump,) = [place for place, line in enumerate(steps) if "sona-pg dump" in line]
    (maintain,) = [place for place, line in enumerate(steps) if "sona-pg maintain" in line]
    assert dump < maintain


def test_what_a_killed_dump_leaves_goes_with_the_old_backups():
    (backup,) = SERVICES["backup"]["command"]
    for told in (backup, (FOLDER / "systemd" / "sona-pg-nightly.service").read_text()):
        (pattern,) = re.findall(r"-name '(.*)' -mtime", told)
        assert fnmatch("sona-2026-11-22.dump~" if "sona-" in pattern else "2026-11-22.dump~", pattern)
