"""What differs between two settings is said; secrets are not."""

from __future__ import annotations

import json

import pytest

from scheduler.config.differences import differences, without_secrets


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "MY_PASS",
        "WANDB_API_KEY",
        "PGPASSWORD",
        "GITHUB_PAT",
        "SLACK_WEBHOOK_URL",
        "wandbApiKey",
    ],
)
def test_secrets_are_neither_kept_nor_shown(name: str) -> None:
    kept = [without_secrets({name: value}, environment=True) for value in ("one", "two")]
    assert "one" not in json.dumps(kept[0])
    assert differences(*kept) == [f"{name}: changed"]
    assert differences({}, kept[0]) == [f"{name}: – → a secret"]


@pytest.mark.parametrize(
    "name", ["TOKENIZERS_PARALLELISM", "COMPASS", "MONKEY", "KEYBOARD", "BYPASS"]
)
def test_what_only_sounds_like_a_secret_is_shown(name: str) -> None:
    kept = without_secrets({name: "false"}, environment=True)
    assert differences({}, kept) == [f"{name}: – → false"]
