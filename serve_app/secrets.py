"""What must not stand in a config file, from the environment; and where tasks and pictures are because of it."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serve_app.settings import Settings
from serve_app.tasks.hook_secret import checked

_BUCKET = re.compile(r"s3://[A-Za-z0-9._-]{3,255}(/[^?#@]*)?")


class Secrets(BaseSettings):
    """From the environment, prefix FACESWAP_; never logged, never in a file. Blank means unset."""

    model_config = SettingsConfigDict(env_prefix="FACESWAP_", extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    secret: SecretStr | None = Field(None, description="asked for in `mj-api-secret` or `Authorization` when set")
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL 15 or later for tasks and keys, as `postgresql://user:password@host:5432/database`; needed where Ray has "
        "more than one node. Unset: the SQLite file tasks.db in data_dir",
    )
    blobs_url: str | None = Field(
        None,
        repr=False,
        description="S3 bucket for pictures, as `s3://bucket/prefix`; needed where Ray has more than one node. Server and credentials come "
        "from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION. Unset: the folder blobs in data_dir",
    )
    notify_hook: str | None = Field(None, repr=False, description="told of every change when a request names no notifyHook")
    hook_secret: SecretStr | None = Field(
        None,
        description="signs callbacks, as standardwebhooks.com says, of keys that have no secret of their own: `whsec_` and base64; several "
        "told apart by blanks sign side by side",
    )
    public_url: str | None = Field(None, description="how clients reach the service; start of imageUrl. Unset: as the request came in")

    @field_validator("secret")
    @classmethod
    def _not_blank(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not secret.get_secret_value().strip():
            raise ValueError("is blank; unset it for a service that is open to everybody who reaches it")
        return secret

    @field_validator("hook_secret")
    @classmethod
    def _signs(cls, secret: SecretStr | None) -> SecretStr | None:
        return None if secret is None else SecretStr(checked(secret.get_secret_value()))

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://", "sqlite:///")):
            raise ValueError("must begin with postgresql://")
        return url

    @field_validator("blobs_url")
    @classmethod
    def _is_bucket(cls, url: str | None) -> str | None:
        if url is not None and not _BUCKET.fullmatch(url):
            raise ValueError("must be s3://bucket/prefix; server and credentials go into AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and so on")
        return url

    @field_validator("notify_hook", "public_url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("must be an http or https URL")
        return url


def database_of(settings: Settings, secrets: Secrets) -> str | Path:
    """Where tasks and keys are: a URL with its password, or the path of a SQLite file."""
    return settings.database if secrets.database_url is None else secrets.database_url.get_secret_value()


def blobs_of(settings: Settings, secrets: Secrets) -> str | Path:
    """Where pictures are: s3://bucket/prefix, or a folder."""
    return settings.blobs if secrets.blobs_url is None else secrets.blobs_url
