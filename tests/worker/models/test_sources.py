"""Where models come from: random ones are known as such, and an unreachable hub is asked once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from worker.models.random_weights import tiny_pipeline
from worker.models.sources import has_random_weights, local_source

PROGRAM = """
import os
from worker.models.sources import prefer_cache_without_network
prefer_cache_without_network()
from huggingface_hub import constants
print(constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE"))
"""


def test_what_was_built_here_is_random() -> None:
    assert has_random_weights("built:sd15")
    assert has_random_weights(str(tiny_pipeline("sd15")))
    for source in ("package:shapes/weights/sd15", "owner/name", ".", "/"):
        assert not has_random_weights(source)
    assert not has_random_weights(local_source("package:shapes/weights/sd15"))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize(
    ("reachable", "proxy", "offline"), [(True, "", False), (False, "", True), (False, "x", False)]
)
def test_the_hub_is_left_alone_where_it_cannot_be_reached(
    listening: socket.socket, reachable: bool, proxy: str, offline: bool
) -> None:
    port = listening.getsockname()[1]
    if not reachable:
        listening.close()
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in names}
    kept.pop("HF_HUB_OFFLINE", None)
    kept |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}
    kept |= {"https_proxy": proxy} if proxy else {}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=kept, check=True
    )
    assert done.stdout.split() == (["True", "1"] if offline else ["False", "None"])
