"""Which errors of libraries mean what."""

import pytest
import torch

from worker.errors import is_out_of_memory


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
        "CUDA driver error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "Error CUDA error 2: out of memory",
        "cudaHostAlloc failed: out of memory",
        "CURAND_STATUS_ALLOCATION_FAILED",
        "cuSOLVER error: CUSOLVER_STATUS_ALLOC_FAILED",
        "cuFFT error: CUFFT_ALLOC_FAILED",
        "InductorError: OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB",
    ],
)
def test_memory_runs_out_in_many_words(words):
    assert is_out_of_memory(RuntimeError(words))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


GIB = 2**30
FULL, ROOMY = (20 * 2**20, 80 * GIB), (20 * GIB, 80 * GIB)
AMBIGUOUS = [
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuFFT error: CUFFT_INTERNAL_ERROR",
    "CUDA error: CUSPARSE_STATUS_INSUFFICIENT_RESOURCES when calling `cusparseCreate(handle)`",
    "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`",
    "GET was unable to find an engine to execute this computation",
]


@pytest.mark.parametrize("words", AMBIGUOUS)
def test_the_memory_that_is_free_tells_a_full_device_from_a_fault(words, monkeypatch):
    error = RuntimeError(words)
    assert not is_out_of_memory(error)  # there is no GPU
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: FULL)
    assert is_out_of_memory(error)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: ROOMY)
    assert not is_out_of_memory(error)


def test_a_device_too_full_to_be_asked_is_full(monkeypatch):
    def no_context():
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", no_context)
    assert is_out_of_memory(RuntimeError(AMBIGUOUS[0]))


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: device-side assert triggered",
        "CUDA error: an illegal memory access was encountered",
        "cuDNN error: CUDNN_STATUS_BAD_PARAM",
        "The size of tensor a (9) must match the size of tensor b (4)",
    ],
)
def test_an_ordinary_fault_on_a_full_device_is_a_fault(words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: FULL)
    assert not is_out_of_memory(RuntimeError(words))
