"""HTTP service: a thin edge over the engine; ``create_app`` makes it, ``sona-pg serve`` runs it (extra ``server``)."""

from sona_pg.service.app import create_app
from sona_pg.service.service_options import ServiceOptions, Upstream

__all__ = ["ServiceOptions", "Upstream", "create_app"]
