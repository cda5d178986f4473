"""Settings: refused by name when unknown, documented, and the same in the shipped config."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.cli.settings_page import settings_page
from serve_app.deployments import cluster
from serve_app.secrets import Secrets, blobs_of, database_of
from serve_app.settings import Settings
from serve_app.tasks.hook_secret import new_secret

ROOT = Path(__file__).resolve().parent.parent


def test_an_unknown_setting_is_refused_by_its_name() -> None:
    with pytest.raises(ValidationError, match="treads"):
        Settings.model_validate({"detector": {"treads": 2}})


def test_a_setting_that_was_renamed_is_taken_by_its_old_name_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.model_validate({"limits": {"max_waiting": 5, "max_state": 9}})
    assert (settings.limits.max_unfinished, settings.limits.max_state) == (5, 9)
    assert "max_waiting is called max_unfinished now" in caplog.text
    assert Settings.model_validate({"limits": {"max_waiting": 5, "max_unfinished": 7}}).limits.max_unfinished == 7
    for wrong in ({"max_waiting": 0}, {"max_waitings": 5}, {"max_waiting": 5, "treads": 2}):
        with pytest.raises(ValidationError):
            Settings.model_validate({"limits": wrong})


def test_the_settings_page_is_what_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page()


def test_every_setting_is_explained() -> None:
    assert "None |" not in settings_page().replace("| `None` |", "")


def test_what_is_live_can_be_changed_where_it_is_read_and_nothing_else() -> None:
    settings = Settings(data_dir=Path("elsewhere"))
    changed = settings.changed("Ingress", {"limits": {"max_state": 9}, "rates": {"wrong_keys": None}})
    assert (changed.limits.max_state, changed.rates.wrong_keys) == (9, None)
    assert changed.limits.max_pixels == settings.limits.max_pixels
    assert changed.data_dir == settings.data_dir
    assert settings.limits.max_state == 1024
    for wrong, said in (
        ({"limits": {"max_bodies": 9}}, "cannot change limits.max_bodies; set it in args"),
        ({"limits": {"max_statue": 9}}, "no setting limits.max_statue"),
        ({"pipeline": {"quality": 90}}, "user_config of Ingress cannot change pipeline.quality"),
        ({"limits": 9}, "limits is a group"),
        ({"limits": {"max_state": -1}}, "max_state"),
        ({"family": "fake"}, "cannot change family"),
    ):
        with pytest.raises(ValueError, match=said):
            settings.changed("Ingress", wrong)


def test_a_pipeline_claims_two_batches_of_a_swapper() -> None:
    assert Settings().in_flight == 4
    assert Settings.model_validate({"swapper": {"slots": 1, "buckets": [1, 2, 8]}}).in_flight == 16
    assert Settings.model_validate({"pipeline": {"in_flight": 3}}).in_flight == 3


def test_the_shipped_config_is_valid_and_stays_on_loopback() -> None:
    config = cluster.load_config(ROOT / "config" / "local.yaml")
    assert config.http_options.host == "127.0.0.1"
    settings = cluster.settings_of(config)
    assert settings.data_dir.is_absolute()
    limits = {deployment.name: deployment.max_ongoing_requests for deployment in config.applications[0].deployments}
    assert limits.keys() == {"Ingress", "SwapPipeline", "FaceDetector", "FaceSwapper"}
    # Past max_ongoing_requests Serve's router sleeps between tries: the dispatcher must stay below it.
    assert settings.ingress.max_dispatched < limits["SwapPipeline"]


def test_secrets_come_from_the_environment_and_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_SECRET", "top secret")
    monkeypatch.setenv("FACESWAP_NOTIFY_HOOK", "")
    secrets = Secrets()
    assert secrets.secret is not None
    assert secrets.secret.get_secret_value() == "top secret"
    assert secrets.notify_hook is None
    assert "top secret" not in repr(secrets)


def test_the_database_is_the_file_unless_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, url = Settings(), "postgresql://user:hidden@host/db"
    assert database_of(settings, Secrets()) == settings.database
    monkeypatch.setenv("FACESWAP_DATABASE_URL", url)
    assert database_of(settings, secrets := Secrets()) == url
    assert "hidden" not in repr(secrets)
    monkeypatch.setenv("FACESWAP_DATABASE_URL", "mysql://user:hidden@host/db")
    with pytest.raises(ValidationError, match="postgresql://") as raised:
        Secrets()
    assert "hidden" not in str(raised.value)


def test_pictures_are_in_the_folder_unless_the_environment_names_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert blobs_of(settings, Secrets()) == settings.blobs
    monkeypatch.setenv("FACESWAP_BLOBS_URL", "s3://bucket/some/prefix")
    assert blobs_of(settings, Secrets()) == "s3://bucket/some/prefix"
    for wrong in ("s3://key:hidden@bucket/prefix", "https://bucket/hidden", "s3://", "s3://bucket?hidden"):
        monkeypatch.setenv("FACESWAP_BLOBS_URL", wrong)
        with pytest.raises(ValidationError, match="s3://bucket/prefix") as raised:
            Secrets()
        assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("text", ["hunter2", "whsec_hunter2"])
def test_a_hook_secret_that_cannot_be_is_explained_and_not_shown(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FACESWAP_HOOK_SECRET", text)
    with pytest.raises(ValidationError, match="base64 of 24 to 64 random bytes") as raised:
        Secrets()
    assert "hook_secret" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_hook_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_HOOK_SECRET", secret := new_secret())
    found = Secrets()
    assert found.hook_secret is not None
    assert found.hook_secret.get_secret_value() == secret
    assert secret not in repr(found)
