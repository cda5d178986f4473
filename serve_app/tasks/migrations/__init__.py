"""Alembic migrations of the task store. `serve_app.tasks.migrate` runs them."""
