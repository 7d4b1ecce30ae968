"""The GPUs of the fake, for whole sweeps."""

from tests.scheduler.conftest import fake_nvml, nvml_library  # noqa: F401
