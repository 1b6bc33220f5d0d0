"""Commands about roles of the database: row-level security, logins that see one space, and who did what."""

from __future__ import annotations

from typing import Annotated

import typer

from sona_pg.cli.options import Limit, Url, address_of, complete_space, database_at
from sona_pg.cli.render import show_facts, show_rows
from sona_pg.domain.login import CAPABILITIES
from sona_pg.errors import InvalidValue

roles_app = typer.Typer(help="Roles of the database: logins that see one space.", no_args_is_help=True)

Login = Annotated[str, typer.Argument(help="Name of the login.")]


@roles_app.command("install")
def roles_install(
    prefix: Annotated[str, typer.Option(help="Beginning of the names of the group roles.")] = "sona",
    url: Url = None,
) -> None:
    """Turn row-level security on, and make the group roles: reader, recorder, learner and admin.

    Run it as the schema's owner with CREATEROLE, or as a superuser; upgrades of the schema repeat it. Other logins
    with rights on the tables go on seeing every space. Upgrade sona-pg on all servers first.

    Example: sona-pg roles install
    """
    from sona_pg.store.admin import roles

    with address_of(url) as address:
        done = roles.install(address, prefix)
    facts = {
        "groups": [f"{done.prefix}_{capability}" for capability in CAPABILITIES],
        "made": list(done.made_groups),
        "guarded_tables": done.guarded,
        "see_every_space": list(done.kept),
    }
    show_facts(facts, "row-level security")


@roles_app.command("grant")
def roles_grant(
    login: Login,
    space: Annotated[
        str | None, typer.Option(help="The space that it sees.", autocompletion=complete_space, show_default=False)
    ] = None,
    every_space: Annotated[bool, typer.Option("--every-space", help="It sees all spaces.")] = False,
    capability: Annotated[
        str, typer.Option("--as", help="What it may do: reader, recorder, learner or admin.")
    ] = "recorder",
    url: Url = None,
) -> None:
    """Let a login see one space, or all; a login that is missing is made, and its password printed once.

    Example: sona-pg roles grant acme_app --space acme --as recorder
    """
    from sona_pg.store.admin import logins

    if (space is None) != every_space:
        raise InvalidValue("give either --space NAME or --every-space")
    for known in CAPABILITIES:
        if known == capability:
            break
    else:
        raise InvalidValue(f"--as {capability!r}: expected {', '.join(CAPABILITIES)}")
    with address_of(url) as address:
        made = logins.grant(address, login, known, space)
    facts = {"login": made.name, "space": made.space or "every space", "as": made.capability}
    show_facts({**facts, "password": made.password} if made.password else facts, f"login {login!r}")


@roles_app.command("revoke")
def roles_revoke(login: Login, url: Url = None) -> None:
    """Take a login's rights; it sees nothing from its next statement on. The login itself stays.

    Example: sona-pg roles revoke acme_app
    """
    from sona_pg.store.admin import logins

    with address_of(url) as address:
        show_facts({"login": login, "revoked": logins.revoke(address, login)}, f"login {login!r}")


@roles_app.command("list")
def roles_list(url: Url = None) -> None:
    """List the logins that see a space, or every space.

    Example: sona-pg roles list
    """
    from sona_pg.store.admin import logins

    with address_of(url) as address:
        found = logins.listing(address)
    rows = [{"login": one.name, "space": one.space or "every space", "as": one.capability} for one in found]
    show_rows(rows, "logins")


def audit(
    space: Annotated[
        str | None, typer.Option(help="Of one space; else of the whole store.", autocompletion=complete_space)
    ] = None,
    limit: Limit = 50,
    url: Url = None,
) -> None:
    """List administrative acts, newest first: spaces, settings, budgets, keys, logins, versions, erasures, retention.

    Each was recorded in the transaction that did it, with the login of the database and who asked.

    Example: sona-pg audit --space support
    """
    with database_at(url) as database:
        of_space = None if space is None else database.find_space(space)
        show_rows([act.as_dict() for act in database.acts(of_space, limit)], "administrative acts")
