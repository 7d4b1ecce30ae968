"""A fake of NVML's library, compiled once for all tests of this folder."""

import pytest

from tests.helpers.fake_nvml import build


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory):
    return build(tmp_path_factory.mktemp("nvml"))
