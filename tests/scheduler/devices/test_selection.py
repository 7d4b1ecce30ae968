"""Which devices a user's settings and an inherited CUDA_VISIBLE_DEVICES leave."""

from __future__ import annotations

import pytest

from scheduler.devices.model import Device
from scheduler.devices.selection import UnknownDevice, select, visible_to_cuda

DEVICES = [
    Device("GPU-aa11", "A", "0", "gpu"),
    Device("GPU-aa22", "A", "1", "gpu"),
    Device("MIG-cc00", "B", "2:0", "mig", parent="GPU-bb33"),
    Device("MIG-cc11", "B", "2:3", "mig", parent="GPU-bb33"),
    *(Device(f"GPU-dd{i}", "C", str(i), "gpu") for i in range(3, 12)),
]
ALL = [d.index for d in DEVICES]


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        (None, ALL),
        ("", []),
        ("-1", []),
        ("0", ["0"]),
        ("1,0", ["0", "1"]),
        (" 0 , 1 ", ["0", "1"]),
        ("00,01", ["0", "1"]),
        ("11", ["11"]),  # and not 1
        ("0,12,1", ["0"]),  # what follows an index that is too large does not count
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("0,zero,1", ["0"]),
        ("0,1,0", []),
        ("GPU-aa11", ["0"]),
        ("GPU-aa1,GPU-dd4", ["0", "4"]),
        ("GPU-aa,GPU-dd4", []),  # fits two
        ("GPU-dd4,GPU-ee,GPU-aa11", ["4"]),
        ("GPU-aa11,0", []),  # the same GPU twice
        ("aa11", []),
        ("²", []),
        ("MIG-cc00", ["2:0"]),
        ("MIG-cc", []),
        ("2", ["2:0", "2:3"]),
        ("GPU-bb", ["2:0", "2:3"]),
        ("NoDevFiles", []),
    ],
)
def test_visible_to_cuda(visible: str | None, indices: list[str]) -> None:
    assert [d.index for d in visible_to_cuda(DEVICES, visible)] == indices


@pytest.mark.parametrize(
    ("only", "exclude", "indices"),
    [
        (None, [], ALL),
        ([], [], []),
        ([1, 0], [], ["1", "0"]),
        (["1"], [], ["1"]),
        ([0, 0], [], ["0"]),
        (["2:3"], [], ["2:3"]),
        ([2], [], ["2:0", "2:3"]),
        ([2], ["2:0"], ["2:3"]),
        (["GPU-aa11", "MIG-cc11"], [], ["0", "2:3"]),
        ([0, 1], ["GPU-aa1"], ["1"]),
        (None, [*range(2, 12)], ["0", "1"]),
        ([0], [0], []),
    ],
)
def test_select(only: list[int | str] | None, exclude: list[int | str], indices: list[str]) -> None:
    assert [d.index for d in select(DEVICES, only, exclude)] == indices


@pytest.mark.parametrize("name", [12, "12", -1, "2:1", "GPU-aa", "GPU-ee", "", "aa11", "H200"])
@pytest.mark.parametrize("key", ["only", "exclude"])
def test_a_name_that_fits_nothing_is_told_with_what_there_is(name: int | str, key: str) -> None:
    settings = {"only": None, "exclude": []} | {key: [0, name]}
    with pytest.raises(UnknownDevice) as error:
        select(DEVICES[:4], **settings)
    assert str(error.value) == (
        f"devices.{key}: {name!r} names no single device here; there are "
        "0 (GPU-aa11), 1 (GPU-aa22), 2:0 (MIG-cc00), 2:3 (MIG-cc11)"
    )
