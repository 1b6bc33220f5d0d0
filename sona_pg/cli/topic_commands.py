"""Commands about the names of topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sona_pg.cli.options import Limit, SpaceName, Url, database_at
from sona_pg.cli.render import show_facts, show_rows

if TYPE_CHECKING:
    from sona_pg.domain.space import Space
    from sona_pg.domain.topic import TopicNames
    from sona_pg.store.database import Database

topics_app = typer.Typer(help="Topics that people ask about: list or name them.", no_args_is_help=True)
Pattern = Annotated[str, typer.Argument(help="Id of a pattern, as the list prints it.", show_default=False)]


@topics_app.command("list")
def topics_list(
    space: SpaceName = "default",
    limit: Limit = 20,
    named: Annotated[bool, typer.Option("--named", help="Only those that have a name.")] = False,
    topics: Annotated[
        int | None,
        typer.Option(min=1, help="Put like topics together into at most so many.", show_default=False),
    ] = None,
    url: Url = None,
) -> None:
    """List the topics, largest first: name, a typical question without its numbers and names, how it goes.

    The best route is that of the dashboard: of a route that got worse only the ratings since count. With --topics the
    ratings of topics put together are counted together.

    Example: sona-pg topics list --space support --topics 20
    """
    from sona_pg.domain.route_choice import NONE_BEST
    from sona_pg.domain.topic import TopicNames
    from sona_pg.domain.wording import title, wordings
    from sona_pg.engine.level_changes import LATELY

    with database_at(url) as database:
        found = database.find_space(space)
        known = database.topics.listing(found)
        names = TopicNames(known)
        if named:
            rows = [
                {"pattern": one.pattern, "name": one.name, "typical_query": _shown(one.typical_query), "size": one.size,
                 "quality": one.quality, "named_by": one.named_by, "named_at": one.named_at}
                for one in known[:limit]
            ]  # fmt: skip
        elif topics is not None:
            rows = _put_together(database, found, topics, names)[:limit]
        else:
            best = database.overview.best_routes(found, LATELY)
            rows = [
                {"pattern": row["pattern_id"], "name": names.of(row["pattern_id"]),
                 "typical_query": title(wordings(row["typical_queries"][:1])), "size": row["size"],
                 "quality": row["quality"] if row["weight"] > 0 else None,
                 "best_route": best.get(row["pattern_id"], NONE_BEST).best}
                for row in database.read_view("pattern_summary", found, limit)
            ]  # fmt: skip
        show_rows(rows, f"topics of space {space!r}")


def _put_together(database: Database, space: Space, most: int, names: TopicNames) -> list[dict[str, Any]]:
    from sona_pg.domain.wording import title, wordings
    from sona_pg.engine.coarse_topics import LinkedPatterns
    from sona_pg.engine.level_changes import LATELY

    linked = LinkedPatterns(database.versions.patterns_at(space, database.live_version(space)))
    grouped = linked.topics(most)
    _, changed = database.overview.route_changes(space, LATELY)
    worse = [one for one in changed if one.after_quality < one.before_quality]
    since = database.overview.ratings_since(space, worse) if worse else {}
    best = grouped.spanning(database.overview.best_routes_of(space, worse, since, grouped.of))
    members = grouped.members()
    return [
        {"pattern": one.id, "patterns": len(members[one.id]), "name": names.of_all(members[one.id]),
         "typical_query": title(wordings(one.typical_queries[:1])), "size": one.size,
         "quality": one.quality if one.rated else None, "rated": round(one.weight),
         "best_route": best[one.id].best}
        for one in sorted(grouped.patterns, key=lambda one: (-one.size, one.id))
    ]  # fmt: skip


@topics_app.command("name")
def topics_name(
    pattern: Pattern,
    name: Annotated[str, typer.Argument(help="What people call it.", show_default=False)],
    space: SpaceName = "default",
    url: Url = None,
) -> None:
    """Name a topic, in place of the names that it had; it keeps the name across versions.

    Example: sona-pg topics name 7c1f0d0e-6a55-5a1c-9a4e-0d7b6f1c2a33 "Late delivery" --space support
    """
    from sona_pg.engine.topic_calls import require_topic_name

    _name(pattern, require_topic_name(name), space, url)


@topics_app.command("unname")
def topics_unname(pattern: Pattern, space: SpaceName = "default", url: Url = None) -> None:
    """Take the name of a topic away.

    Example: sona-pg topics unname 7c1f0d0e-6a55-5a1c-9a4e-0d7b6f1c2a33 --space support
    """
    _name(pattern, None, space, url)


def _name(pattern: str, name: str | None, space: str, url: str | None) -> None:
    from sona_pg.engine.topic_calls import require_pattern_id

    id_ = require_pattern_id(pattern)
    with database_at(url) as database:
        database.topics.name(database.find_space(space), id_, name)
    show_facts({"pattern": id_, "name": name}, f"space {space!r}")


def _shown(query: str | None) -> str | None:
    from sona_pg.domain.wording import title, wordings

    return None if query is None else title(wordings([query]))
