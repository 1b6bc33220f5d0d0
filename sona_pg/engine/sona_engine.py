"""SonaEngine: opens a space of a store, records, learns, and serves its live version."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Self

from sona_pg.config import Migrate, SonaConfig, migrate_policy
from sona_pg.engine.budget_calls import BudgetCalls
from sona_pg.engine.content_calls import ContentCalls
from sona_pg.engine.engine_builder import SonaEngineBuilder
from sona_pg.engine.erasure_calls import ErasureCalls
from sona_pg.engine.explaining_calls import ExplainingCalls
from sona_pg.engine.learning_calls import LearningCalls
from sona_pg.engine.opened_space import OpenRequest, dimension_of
from sona_pg.engine.pattern_calls import PatternCalls
from sona_pg.engine.ranking_calls import RankingCalls
from sona_pg.engine.recording_calls import RecordingCalls
from sona_pg.engine.routing_calls import RoutingCalls
from sona_pg.engine.status_calls import StatusCalls
from sona_pg.engine.text_calls import TextCalls
from sona_pg.engine.topic_calls import TopicCalls
from sona_pg.engine.version_calls import VersionCalls
from sona_pg.errors import ConfigError
from sona_pg.text.embedder import Embedder


class SonaEngine(
    RecordingCalls,
    LearningCalls,
    VersionCalls,
    PatternCalls,
    RankingCalls,
    RoutingCalls,
    ContentCalls,
    BudgetCalls,
    TopicCalls,
    ErasureCalls,
    ExplainingCalls,
    TextCalls,
    StatusCalls,
):
    """One space, open in this process: records, learns, and serves the newest version known here.

    ``begin_trajectory``, ``add_step``, ``set_trajectory_route``, ``add_trajectory_context``,
    ``set_trajectory_parameters``, ``end_trajectory``, ``apply_micro_lora``, ``apply_base_lora``, ``set_enabled`` and
    ``is_enabled`` come from the compiled hot path: none of them waits for the database. One engine serves all threads
    of a process; close it, or use ``with``.

    **Forked processes** (gunicorn ``--preload``, Celery's prefork, ``multiprocessing``): a child that uses its parent's
    engine gets its own, opened at the first call with the same arguments: buffer, connections and threads are not
    shared. That call takes as long as opening does: call ``refresh`` in the server's post-fork hook. The parent writes
    its own records, and a trajectory ends in the process that began it.
    """

    def __init__(
        self,
        hidden_dim: int | None = None,
        url: str | None = None,
        space: str = "default",
        *,
        config: SonaConfig | None = None,
        embedder: Embedder | None = None,
        create: bool = True,
        migrate: Migrate | None = None,
        require_database: bool = False,
        read_url: str | None = None,
    ) -> None:
        """Open ``space``, creating it and the schema if they are missing.

        Args:
            hidden_dim: the embedding dimension of the space; else that of ``config``, else the one it has, else 256.
            url: the database; else ``SONA_PG_URL``, else the embedded Postgres in ``SONA_PG_HOME``.
            space: the learning domain.
            config: all other settings. A new space gets them; those of an existing space must agree with the ones that
                ``config`` names, and replace all others (``ConfigPart.given``).
            embedder: for ``process``; by default that of extra ``text``, loaded when first needed. Asked once for the
                vector of a fixed text, which tells another model of the same dimension.
            create: whether to create a missing space.
            migrate: ``"auto"`` upgrades an older schema, ``"check"`` refuses it and names the command to run; else
                ``SONA_PG_MIGRATE``, else ``"auto"``. The embedded server's is always upgraded.
            require_database: raise ``DatabaseUnavailable`` if the database does not answer now. Otherwise the engine
                opens without it and says so in the log: it records (durability ``sync`` refuses), serves the last
                version known on this machine, and catches up once the database answers.
            read_url: a standby for search and analytics, as of ``Store``; else ``SONA_PG_READ_URL``.

        Raises:
            ConfigError: a setting is invalid; ``SettingsConflict``: the space has another dimension, or other learning
                settings than ``config`` names; ``EmbedderChanged``: it learns with another embedding model.
            SchemaError: the schema is newer than this release, or older and ``migrate`` says ``"check"``.
            DatabaseError: Postgres does not answer or does not meet the requirements; or with ``create=False``, there
                is no such space.
            StorageError: the embedded server's data folder cannot be used.
        """
        if config is not None and not isinstance(config, SonaConfig):
            raise ConfigError(f"config={config!r} cannot work: expected a SonaConfig")
        config = config or SonaConfig()
        said = hidden_dim if hidden_dim is not None or "hidden_dim" not in config.given else config.hidden_dim
        if "hidden_dim" in config.given and config.hidden_dim != said:
            raise ConfigError(f"hidden_dim={said!r} beside a config of hidden_dim={config.hidden_dim}: say one")
        if migrate is not None:
            migrate = migrate_policy(migrate, "migrate")
        wanted = OpenRequest(url, space, create, migrate, require_database, read_url)
        with dimension_of(wanted, config.hidden_dim) if said is None else nullcontext(said) as dim:
            if embedder is not None and embedder.dim != dim:
                raise ConfigError(
                    f"the embedder gives {embedder.dim} dimensions, the space has {dim}: "
                    f"open it with hidden_dim={embedder.dim}"
                )
            self._embedder = embedder
            super().__init__(config.replace(hidden_dim=dim), wanted)
        if embedder is not None:
            self._take_embedder(embedder)
            self._tell_kinds(embedder)

    @classmethod
    def builder(cls) -> SonaEngineBuilder:
        """Return a builder: ``SonaEngine.builder().hidden_dim(256).config(SonaConfig.max_quality()).build()``."""
        return SonaEngineBuilder(cls)

    @classmethod
    def with_config(
        cls,
        config: SonaConfig,
        *,
        url: str | None = None,
        space: str = "default",
        embedder: Embedder | None = None,
        create: bool = True,
    ) -> Self:
        """Open an engine with all settings from ``config``."""
        if not isinstance(config, SonaConfig):
            raise ConfigError(f"config={config!r} cannot work: expected a SonaConfig")
        return cls(None, url, space, config=config, embedder=embedder, create=create)
