"""What Alembic runs. The connection, its lock and its transaction are those of `serve_app.tasks.migrate`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
