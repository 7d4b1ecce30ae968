"""What Slurm's commands say, read; without a Slurm."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config.sweep import SlurmSettings
from scheduler.executors.slurm.check import SlurmUnusable, find_slots, parse_gres, remark_on_models
from scheduler.executors.slurm.commands import Listed, Mark, NodeGroup, parse_jobs


def test_a_job_is_known_by_its_comment() -> None:
    mark = Mark("abc", 2, "a sweep", "it's|a %task")
    lines = [
        f"17\tPENDING\tReqNodeNotAvail, UnavailableNodes:n1\t\t{mark}",
        "18\tRUNNING\tNone\tn2\t(null)",
        "19\tRUNNING\tNone\tn2\tsweep-attempt",
        "slurm_load_jobs error: Unable to contact slurm controller",
    ]
    assert dict(parse_jobs("\n".join(lines))) == {
        "abc": Listed(17, "PENDING", "ReqNodeNotAvail, UnavailableNodes:n1", "")
    }


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
