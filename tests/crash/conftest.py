"""The GPUs of the fake, for dispatchers that die."""

from tests.scheduler.conftest import fake_nvml, nvml_library  # noqa: F401
