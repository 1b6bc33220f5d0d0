"""Administration of the database: migrations, embedded server, maintenance, checks."""
