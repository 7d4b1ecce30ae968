"""Which errors of libraries mean what."""

import pytest

from worker.errors import is_out_of_memory


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
        "InductorError: OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB",
    ],
)
def test_memory_runs_out_in_many_words(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
