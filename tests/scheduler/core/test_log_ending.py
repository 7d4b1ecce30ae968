"""What ended a program, found in the ends of real logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config.sweep import Rules
from scheduler.core.log_ending import LINES, last_exception, last_words
from scheduler.core.verdict import Evidence, Exit, Kind, LogScan, Verdict, decide
from scheduler.storage.logs import read_log

ADVICE = """\
Search for `cudaErrorAssert' in https://docs.nvidia.com/cuda/cuda-runtime-api/ for more information.
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace may be wrong.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
KERNEL = (
    "/pytorch/aten/src/ATen/native/cuda/IndexKernelUtils.cu:16: vectorized_gather_kernel: block: [0,0,0], "
    'thread: [{n},0,0] Assertion `ind >=0 && ind < ind_dim_size && "index out of bounds"` failed.\n'
)
FRAMES = """\
Traceback (most recent call last):
  File "/home/me/x.py", line 7, in <module>
    torch.cuda.synchronize()
"""
ASSERT = f"""{KERNEL.format(n=0)}{KERNEL.format(n=1)}{FRAMES}\
torch.AcceleratorError: CUDA error: device-side assert triggered
{ADVICE}
"""
TERMINATE = f"""\
terminate called after throwing an instance of 'c10::AcceleratorError'
  what():  CUDA error: device-side assert triggered
{ADVICE}
Exception raised from c10_cuda_check_implementation at CUDAException.cpp:44 (most recent call first):
frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x98 (0x7f2 in libc10.so)
frame #1: <unknown function> + 0x11fb (0x7f3 in libc10_cuda.so)
"""
NCCL = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "/home/me/x.py", line 7, in <module>
[rank1]:     dist.all_reduce(x)
[rank1]: torch.distributed.DistBackendError: NCCL error in: P.cpp:36, unhandled cuda error, NCCL version 2.27
[rank1]: ncclUnhandledCudaError: Call to CUDA function failed.
[rank1]: Last error:
[rank1]: Cuda failure 2 'out of memory'
"""
STAMPED = """\
2026-11-28 20:00:01,123 ERROR Traceback (most recent call last):
2026-11-28 20:00:01,123 ERROR   File "x.py", line 1, in <module>
2026-11-28 20:00:01,124 ERROR     f()
2026-11-28 20:00:01,124 ERROR ValueError: a bad day
2026-11-28 20:00:02,001 INFO bye
"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "x.py", line 1, in <module>
  |     raise ExceptionGroup("two things", [ValueError(1), TypeError("t")])
  | ExceptionGroup: two things (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +---------------- 2 ----------------
    | TypeError: t
    +------------------------------------
"""
CHAIN = f"""{FRAMES}KeyError: 'a'

During handling of the above exception, another exception occurred:

{FRAMES}ValueError: no such key
a second line of its message: with a colon
x
"""
RICH = """\
╭─────────────────────────────── Traceback (most recent call last) ────────────────────────────────╮
│ /home/me/x.py:3 in <module>                                                                      │
│ ❱ 3 raise ValueError("a bad day")                                                                │
╰──────────────────────────────────────────────────────────────────────────────────────────────────╯
ValueError: a bad day
"""
AT_EXIT = f"""{FRAMES}ValueError: a bad day
Exception ignored in: <function Pool.__del__ at 0x7f>
{FRAMES}TypeError: 'NoneType' object is not callable
/usr/lib/python3.11/resource_tracker.py:254: UserWarning: There appear to be 1 leaked semaphores
  warnings.warn('resource_tracker: There appear to be %d '
"""
THREAD = f"Exception in thread Thread-1 (run):\n{FRAMES}ValueError: in a thread\n"
LOGGED = f"ERROR:root:it failed\n{FRAMES}ValueError: a bad day\n"
BAD_LOGGING = f"""{FRAMES}ValueError: a bad day
--- Logging error ---
{FRAMES}TypeError: not all arguments converted during string formatting
Call stack:
  File "x.py", line 3, in <module>
Message: 'a'
"""
NOTES = f"{FRAMES}ValueError: a bad day\nwhile reading x.json\n"
FAULT = """\
Timeout (0:00:05)!
Thread 0x00007f2a (most recent call first):
  File "x.py", line 3 in <module>
"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            ASSERT,
            "torch.AcceleratorError: CUDA error: device-side assert triggered (Assertion `ind >=0 && ind < "
            'ind_dim_size && "index out of bounds"` failed)',
        ),
        (TERMINATE, "c10::AcceleratorError: CUDA error: device-side assert triggered"),
        (STAMPED, "ValueError: a bad day"),
        (GROUP, "ExceptionGroup: two things (2 sub-exceptions)"),
        (CHAIN, "ValueError: no such key"),
        (RICH, "ValueError: a bad day"),
        (AT_EXIT, "ValueError: a bad day"),
        (THREAD, "ValueError: in a thread"),
        (THREAD + LOGGED, "ValueError: a bad day"),
        (LOGGED, "ValueError: a bad day"),
        (BAD_LOGGING, "ValueError: a bad day"),
        (NOTES, "ValueError: a bad day"),
        (FAULT, "Timeout (0:00:05)!"),
        (f"[rank0]: {FRAMES}ValueError: without a prefix", "ValueError: without a prefix"),
        ("nothing\nof the kind", None),
        ("", None),
    ],
)
def test_the_exception_is_told_from_what_stands_around_it(log: str, cause: str | None) -> None:
    assert last_exception(log.splitlines()) == cause


def test_the_prefix_of_a_rank_is_no_part_of_it() -> None:
    found = last_exception(NCCL.splitlines())
    assert found is not None
    assert found.startswith("torch.distributed.DistBackendError: NCCL error in:")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (f"error: CUDA error: device-side assert triggered\n{ADVICE}\n\n", "error: CUDA error: device-side"),
        ("error: no such file\nbash: line 1: 77 Aborted", "bash: line 1: 77 Aborted"),
        (ADVICE, None),
    ],
)  # fmt: skip
def test_advice_is_nobody_s_last_word(log: str, words: str | None) -> None:
    found = last_words(log.splitlines())
    assert found is None if words is None else (found or "").startswith(words)


def verdict(
    log: str, code: int | None = 1, signal: int | None = None, free: int | None = None
) -> Verdict:
    scan = LogScan(Rules()).feed(log.splitlines())
    return decide(Evidence(Exit(code, signal), scan, least_free=free))


def test_a_failed_assertion_is_named_whichever_way_it_ends() -> None:
    for found in (verdict(ASSERT), verdict(TERMINATE, None, 6), verdict(TERMINATE, 134)):
        assert "CUDA error: device-side assert triggered" in found.cause
        assert "TORCH_USE_CUDA_DSA" not in found.cause
        assert found.kind in (Kind.FAILED, Kind.SIGNALLED)


@pytest.mark.parametrize(
    "words",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity",
        f"torch.AcceleratorError: CUDA error: out of memory\n{ADVICE}",
        "RuntimeError: CUDA driver error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "RuntimeError: cuFFT error: CUFFT_ALLOC_FAILED",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.28 TiB for an array with shape (10",
        "cupy.cuda.memory.OutOfMemoryError: Out of memory allocating 8,589,934,592 bytes",
        "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8",
        "OSError: [Errno 12] Cannot allocate memory",
        "RuntimeError: unable to mmap 4265146304 bytes from file <x>: Cannot allocate memory (12)",
        "RuntimeError: Triton Error [CUDA]: out of memory",
        "RuntimeError: CUDA error 2: out of memory",
        "RuntimeError: cudaHostAlloc failed: out of memory",
    ],
)
def test_words_of_memory_that_ran_out(words: str) -> None:
    assert verdict(f"{FRAMES}{words}\n").kind is Kind.OUT_OF_MEMORY


def test_nccl_names_the_cause_below_the_exception() -> None:
    assert verdict(NCCL).kind is Kind.OUT_OF_MEMORY


DOUBTFUL = [
    "RuntimeError: cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "RuntimeError: GET was unable to find an engine to execute this computation",
    "RuntimeError: CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "RuntimeError: Unable to find an engine to execute this computation",
    "RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
    "RuntimeError: cuFFT error: CUFFT_INTERNAL_ERROR",
    "RuntimeError: NCCL Error 1: unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
]


@pytest.mark.parametrize("words", DOUBTFUL)
@pytest.mark.parametrize(
    ("free", "kind"),
    [(90 << 20, Kind.OUT_OF_MEMORY), (40 << 30, Kind.FAILED), (None, Kind.FAILED)],
)
def test_words_that_do_not_tell_are_judged_by_the_memory_that_was_free(
    words: str, free: int | None, kind: Kind
) -> None:
    found = verdict(f"{FRAMES}{words}\n", free=free)
    assert (found.kind, words in found.cause) == (kind, True)
    assert ("90 MiB were free on the device" in found.cause) == (kind is Kind.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    "words",
    [
        "RuntimeError: CUDA error: unspecified launch failure",
        "ValueError: x",
        ASSERT.splitlines()[5],
    ],
)
def test_a_full_device_does_not_explain_every_failure(words: str) -> None:
    assert verdict(f"{FRAMES}{words}\n", free=90 << 20).kind is Kind.FAILED


def test_a_success_on_a_full_device_is_one() -> None:
    assert verdict(
        "cuDNN: CUDNN_STATUS_INTERNAL_ERROR\nSuccessfully completed", 0, free=0
    ).completed


@pytest.mark.parametrize("before", [0, 70_000])
def test_the_end_of_a_log_is_read_from_its_file_as_well(tmp_path: Path, before: int) -> None:
    log = tmp_path / "a.log"
    log.write_text("x\n" * before + TERMINATE)
    scan, _ = read_log(log, Rules())
    assert list(scan.ending)[-8:] == TERMINATE.splitlines()[-8:]
    assert len(scan.ending) <= LINES
    found = decide(Evidence(Exit(None, 6), scan))
    assert "c10::AcceleratorError: CUDA error: device-side assert triggered" in found.cause
