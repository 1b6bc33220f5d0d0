"""Alembic environment: runs on the connection that ``sona_pg.store.admin.migrate`` hands over."""

from alembic import context

from sona_pg.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="schema_revision",
    version_table_schema="sona",
    include_schemas=True,
)
with context.begin_transaction():
    context.run_migrations()
