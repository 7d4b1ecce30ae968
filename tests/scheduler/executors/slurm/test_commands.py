"""What Slurm's commands say, read; without a Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config.cluster.settings import SlurmSettings
from scheduler.executors.slurm.check import (
    PROGRAMS,
    SlurmUnusable,
    find_slots,
    parse_gres,
    remark_on_models,
)
from scheduler.executors.slurm.commands import (
    Limits,
    Listed,
    Mark,
    NodeGroup,
    parse_jobs,
    parse_limits,
)


def test_an_array_is_known_by_its_comment() -> None:
    mark = Mark("abc", "folder", "a sweep")
    lines = [
        f"17\t3,5-9,20-24:2%4\t17\tPENDING\tReqNodeNotAvail, UnavailableNodes:n1\t{mark}",
        f"17\t0\t18\tRUNNING\tNone\t{mark}",
        f"19\tN/A\t19\tCANCELLED\tNone\t{mark}",
        f"20\t0\t20\tRUNNING\tNone\t{Mark('abc', 'another folder', 'a sweep')}",
        "21\tN/A\t21\tRUNNING\tNone\t(null)",
        "22\tN/A\t22\tRUNNING\tNone\tsweep-attempts",
        "slurm_load_jobs error: Unable to contact slurm controller",
    ]
    waits = "ReqNodeNotAvail, UnavailableNodes:n1"
    assert list(parse_jobs("\n".join(lines), "folder")) == [
        Listed("abc", 17, 17, [3, 5, 6, 7, 8, 9, 20, 22, 24], 4, "PENDING", waits),
        Listed("abc", 17, 18, [0], None, "RUNNING", "None"),
        Listed("abc", 19, 19, None, None, "CANCELLED", "None"),
    ]


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        ("MaxArraySize            = 0\nMaxJobCount             = 50\n", Limits(0, 50)),
        ("MaxArraySize = 5000\nSchedulerParameters = defer,max_array_tasks=7\n", Limits(7, 10_000)),
        ("slurm.conf: nothing of the kind\n", Limits(1001, 10_000)),
    ],
)
def test_how_much_slurm_takes_stands_in_its_configuration(said: str, limits: Limits) -> None:
    assert parse_limits(said) == limits


@pytest.mark.parametrize(
    ("gres", "parts"),
    [
        ("gpu", ("gpu", "", 1)),
        ("gpu:4", ("gpu", "", 4)),
        ("gpu:h100", ("gpu", "h100", 1)),
        ("gpu:a100_1g.5gb:7", ("gpu", "a100_1g.5gb", 7)),
        ("mps:2K", ("mps", "", 2048)),
    ],
)
def test_a_gres_is_taken_apart(gres: str, parts: tuple[str, str, int]) -> None:
    assert parse_gres(gres) == parts


@pytest.mark.parametrize(
    ("gres", "mixed"), [("gpu:1", True), ("gpu:h100:1", False), ("", False), ("mps:10", False)]
)
def test_several_models_of_gpu_are_told_of(gres: str, mixed: bool) -> None:
    nodes = [
        NodeGroup("gpu", 2, 64, 2**39, "gpu:h100:8(S:0-1),mps:h100:800", True),
        NodeGroup("gpu", 4, 64, 2**39, "gpu:a100:4(S:0)", True),
    ]
    remark = remark_on_models(nodes, gres)
    assert (remark is not None) is mixed
    assert not mixed or "GPUs of 2 models (a100, h100) would be used" in str(remark)
    assert remark_on_models(nodes[:1], gres) is None


def test_without_slurm_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmUnusable, match="there is no program sbatch on the PATH"):
        find_slots(SlurmSettings(60.0))


@pytest.mark.parametrize(
    ("constraint", "state", "is_refused"),
    [(None, "idle", False), ("a&b", "idle", True), ("a&b", "down", False)],
)
def test_what_nodes_have_by_sinfo_is_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    constraint: str | None,
    state: str,
    is_refused: bool,
) -> None:
    """A controller that has just begun lists nodes as idle, and says of each job that none can take it."""
    says = {
        "sinfo": f'[ "$3" = %P ] && echo "main*" || printf "main\\t2\\t16\\t2000\\tgpu:4\\t{state}\\n"'
    }
    says["sbatch"] = "echo 'Requested node configuration is not available' >&2; exit 1"
    for program in PROGRAMS:
        (tmp_path / program).write_text(f"#!/bin/sh\n{says.get(program, 'exit 1')}\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    settings = SlurmSettings(60.0, constraint=constraint)
    if is_refused:
        with pytest.raises(SlurmUnusable, match="takes no such job in partition main"):
            find_slots(settings)
    else:
        assert len(find_slots(settings).slots) == 16
