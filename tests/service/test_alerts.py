"""The alerts fire on figures that servers and workers print; promtool tries their expressions where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fix_proxy import Proxy

from sona_pg import IngestConfig, SonaConfig
from sona_pg.engine import current_space
from sona_pg.service import ServiceOptions
from tests.service.conftest import CONFIG, DIM, Service, serving

ROOT = Path(__file__).parent.parent.parent
CASES = Path(__file__).parent / "alert_cases.yml"
PROMTOOL = shutil.which("promtool")  # of Debian's package prometheus
X = [1.0] + [0.0] * (DIM - 1)


def figure(service: Service, name: str) -> float:
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", service.get("/metrics").text, re.MULTILINE)
    return float(found)


def test_records_in_the_spool_are_figures_while_the_database_is_away(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SonaConfig(ingest=IngestConfig(durability="spool"), loops=CONFIG.loops, maintenance=CONFIG.maintenance)
    with serving(proxy.url, ServiceOptions(dim=DIM, config=config)) as service:
        assert figure(service, "sona_database_up") == 1
        assert figure(service, 'sona_uncommitted_records{space="default"}') == 0
        assert figure(service, 'sona_uncommitted_seconds{space="default"}') == 0
        monkeypatch.setattr(current_space, "SILENT_FOR", -2.0)
        proxy.refuse()
        while service.get("/ready").status_code == 200:
            pass
        for _ in range(7):
            assert service.post("/v1/trajectories", {"vector": X}).status_code == 202
        assert figure(service, "sona_database_up") == 0
        assert figure(service, 'sona_uncommitted_records{space="default"}') == 7
        assert figure(service, 'sona_uncommitted_seconds{space="default"}') > 0
        proxy.accept()
        service.engine.flush(20)
        assert figure(service, 'sona_uncommitted_records{space="default"}') == 0


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_alerts_fire_and_stay_silent_as_promtool_finds(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker" / "prometheus-alerts.yml", tmp_path / "alerts.yml")
    shutil.copy(CASES, tmp_path)
    assert PROMTOOL is not None
    tried = subprocess.run(
        [PROMTOOL, "test", "rules", CASES.name], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
