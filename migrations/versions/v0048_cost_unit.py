"""The unit of costs, a setting of each space, beside the costs that views show: null where the space tells none."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0018_budgets import VIEW as BUDGETS
from sona_pg.migrations.versions.v0023_analytics_views import BY_DAY, VIEWS

revision = "0048"
down_revision = "0047"
branch_labels = None
depends_on = None

UNIT = "nullif(s.settings ->> 'costs.unit', '') AS cost_unit"
OF_SPACE = """,
           (SELECT nullif(o.settings ->> 'costs.unit', '') FROM sona.spaces o WHERE o.space_id = f.space_id) AS cost_unit
    FROM sona.figures f"""
# The columns of sona.budgets in their order, which replacing a view keeps.
OF_BUDGETS = """told.space, told.space_id, told.amount, told.per, told.set_at, told.requests, told.spent, told.spent_today,
           told.requests_today, told.share_of_day"""
BEFORE = {
    "quality_by_day": BY_DAY.partition(" AS\n")[2],
    "quality_by_space": VIEWS["quality_by_space"],
    "quality_by_server": VIEWS["quality_by_server"],
    "route_leaderboard": VIEWS["route_leaderboard"],
    "budgets": BUDGETS.partition(" AS\n")[2],
}


def _replaced(name: str, *pairs: tuple[str, str]) -> str:
    text = BEFORE[name]
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    return text


AFTER = {
    **{name: _replaced(name, ("\n        FROM sona.figures f" if name != "quality_by_day" else "\n    FROM sona.figures f", OF_SPACE))
       for name in ("quality_by_day", "quality_by_space", "quality_by_server")},
    "route_leaderboard": _replaced("route_leaderboard", ("r.*", f"r.*, {UNIT}")),
    "budgets": _replaced(
        "budgets", ("told.*", OF_BUDGETS), ("END AS pace", "END AS pace, told.cost_unit"),
        ("AS share_of_day\n", f"AS share_of_day, {UNIT}\n"),
    ),
}  # fmt: skip


def _made(name: str, select: str) -> str:
    return f"CREATE OR REPLACE VIEW sona.{name} WITH (security_invoker = true) AS {select}"


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for name, select in AFTER.items():
            driver.execute(_made(name, select))


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for name, select in BEFORE.items():
        (comment,) = driver.execute(f"SELECT quote_literal(obj_description('sona.{name}'::regclass))").fetchone()
        driver.execute(f"DROP VIEW sona.{name}")
        driver.execute(_made(name, select))
        if comment:
            driver.execute(f"COMMENT ON VIEW sona.{name} IS {comment}")
