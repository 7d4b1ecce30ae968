"""The GPUs of the stand-in, for dispatchers that die."""

from tests.scheduler.conftest import nvml_library, stand_in  # noqa: F401
