"""The GPUs of the stand-in, for whole sweeps."""

from tests.scheduler.conftest import nvml_library, stand_in  # noqa: F401
