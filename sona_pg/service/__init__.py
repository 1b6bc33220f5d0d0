"""HTTP service: a thin edge over the engine; ``create_app`` makes it, ``sona-pg serve`` runs it (extra ``server``)."""

try:
    from sona_pg.service.app import create_app
except ModuleNotFoundError as exc:
    if (exc.name or "").startswith("sona_pg"):
        raise
    raise ModuleNotFoundError(
        f"the service needs an extra: pip install 'sona-pg[server]' ({exc.name} is missing)", name=exc.name
    ) from exc
from sona_pg.service.service_options import ServiceOptions, Upstream

__all__ = ["ServiceOptions", "Upstream", "create_app"]
