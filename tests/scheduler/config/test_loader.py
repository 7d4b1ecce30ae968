"""The sweep file: what it means, and what is said of every mistake in it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.config.loader import SweepError, read_sweep
from scheduler.config.sweep import (
    DEFAULT_CHECK,
    DEFAULT_COMMAND,
    Limits,
    ShareSettings,
    Sweep,
)
from scheduler.core.states import Need
from tests.helpers.sweep_runner import REPOSITORY, SweepRunner

GOOD = """\
matrix: {pipe: [SDXL, SD15], sched: [DDIM, PNDM], steps: [20, 50]}
exclude: [{sched: PNDM, steps: 20}]
include: [{pipe: SDXL, sched: UniPC, steps: 10}]
worker:
  args: {num_samples: 32, batch_size: 2, fast: true, slow: false, sizes: [1, 2], prefix: "{pipe}-{{x}}"}
  env: {PYTORCH_CUDA_ALLOC_CONF: "expandable_segments:True", N: 1}
devices: {max_utilization: 5, min_free_memory: 24GiB, idle_for: 3s, only: [0, GPU-ab], cpu_slots: 3}
retries: {max_attempts: 4, backoff: 1m30s, on_oom: {batch_size: halve}}
limits: {timeout: 12h, stall: 30m}
validate: {success: "all done", failure: [oops]}
search: {anything: [1, {goes: here}], day: 2024-01-01}
"""


def read(folder: Path, text: str | bytes, name: str = "s.yaml") -> Sweep:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_sweep(path)


def problems(folder: Path, text: str | bytes) -> list[str]:
    with pytest.raises(SweepError) as caught:
        read(folder, text)
    assert all(line.startswith(f"{folder}/s.yaml: ") for line in str(caught.value).splitlines())
    return caught.value.problems


# --- what a good file means ----------------------------------------------------------------------


def test_a_priority_is_none_of_the_tasks_and_its_absence_changes_no_fingerprint(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s.yaml"
    sweeps = []
    for line in ("", "priority: 0\n", "priority: 5\n"):
        path.write_text(f"matrix: {{p: [a]}}\n{line}")
        sweeps.append(read_sweep(path))
    assert [sweep.priority for sweep in sweeps] == [0, 0, 5]
    assert len({sweep.digest(sweep.tasks[0]) for sweep in sweeps}) == 1
    of_before = "c017d3518f3bfec793e6e494008b1d4ed7195dd2a54dba504e368f7d318ef026"
    assert [sweep.fingerprint == of_before for sweep in sweeps] == [True, True, False]


@pytest.mark.parametrize(
    ("written", "counts"), [("2", [2, 2, 2]), ("gpus", [1, 2, 4]), ("1", [1, 1, 1])]
)
def test_how_many_devices_a_task_has(tmp_path: Path, written: str, counts: list[int]) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"matrix: {{gpus: [1, 2, 4]}}\ndevices: {{per_task: {written}}}\n")
    sweep = read_sweep(path)
    assert [sweep.devices_of(task.id) for task in sweep.tasks] == counts
    assert sweep.most_devices == max(counts)
    sharing = replace(sweep, devices=replace(sweep.devices, share=ShareSettings(2**30)))
    needs = [Need.of(sharing.with_timed([]), task.id) for task in sweep.tasks]
    assert [need.devices for need in needs] == counts
    assert [need.alone for need in needs] == [count > 1 for count in counts]


def test_what_sharing_is_written_as(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("matrix: {p: [a]}\ndevices: {share: {memory: 20GiB, at_most: 3, mps: true}}\n")
    sweep = read_sweep(path)
    assert sweep.devices.share == ShareSettings(20 * 2**30, at_most=3, mps=True)
    assert sweep.devices.demands == ("share",)


@pytest.mark.parametrize(
    ("worker", "told", "untimed"),
    [
        ("{command: [train]}", None, {"a", "b"}),
        ("{command: [train]}", {"a"}, {"b"}),
        ("{command: [train], timed: true}", None, set()),
        ("{command: [train], timed: true}", {"a"}, set()),
        ("{command: [train], timed: false}", {"a"}, {"b"}),
        ("{command: [/opt/python, -m, worker, search]}", None, set()),
        ("{command: [/opt/python, -m, worker, search], timed: false}", None, {"a", "b"}),
        ("{}", set(), {"a", "b"}),
    ],
)
def test_who_says_which_tasks_measure_speed(
    tmp_path: Path, worker: str, told: set[str] | None, untimed: set[str]
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"matrix: {{p: [a, b]}}\nworker: {worker}\n")
    assert read_sweep(path).with_timed(told).untimed == untimed


def test_every_key(tmp_path: Path) -> None:
    sweep = read(tmp_path, GOOD)
    assert sweep.name == "s"
    assert [task.id for task in sweep.tasks] == [
        *("SDXL_DDIM_20", "SDXL_DDIM_50", "SDXL_PNDM_50"),
        *("SD15_DDIM_20", "SD15_DDIM_50", "SD15_PNDM_50", "SDXL_UniPC_10"),
    ]
    assert sweep.command == DEFAULT_COMMAND
    assert sweep.check == DEFAULT_CHECK
    assert sweep.env == {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "N": 1}
    assert sweep.own_environment({}) == {**sweep.env, "N": "1"}
    assert sweep.devices.min_free_memory == 24 * 2**30
    assert sweep.devices.only == (0, "GPU-ab")
    assert (sweep.devices.idle_for, sweep.devices.cpu_slots) == (3.0, 3)
    assert (sweep.retries.max_attempts, sweep.retries.backoff) == (4, 90.0)
    assert (sweep.limits.timeout, sweep.limits.stall) == (12 * 3600.0, 1800.0)
    assert (sweep.rules.success, sweep.rules.failure) == ("all done", ("oops",))
    assert sweep.search == {"anything": [1, {"goes": "here"}], "day": "2024-01-01"}


@pytest.mark.parametrize(
    ("written", "cores"),
    [("", "auto"), ("cores: off", "off"), ("cores: 'off'", "off"), ("cores: 4", 4)],
)
def test_cores(tmp_path: Path, written: str, cores: object) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"matrix: {{p: [a]}}\ndevices: {{{written}}}\n")
    sweep = read_sweep(path)
    assert (sweep.devices.cores, sweep.devices.demands) == (cores, ())


@pytest.mark.parametrize(
    ("written", "preload"),
    [
        ("", "auto"),
        ("preload: off", "off"),
        ("preload: my.tools, command: [python, run.py]", "my.tools"),
        ("preload: my_tools, command: [/opt/bin/python3, -m, run]", "my_tools"),
    ],
)
def test_preload(tmp_path: Path, written: str, preload: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"matrix: {{p: [a]}}\nworker: {{{written}}}\n")
    sweep = read_sweep(path)
    assert sweep.preload == preload
    tasks = replace(sweep, preload="auto")
    assert tasks.digest(sweep.tasks[0]) == sweep.digest(sweep.tasks[0])


def test_command_line_and_spec(tmp_path: Path) -> None:
    sweep = read(tmp_path, GOOD)
    words = sweep.argv(sweep.tasks[0], {"batch_size": 1}, "R", "S")
    assert words == (  # noqa: SIM905  # as one would type it
        "python -m worker search --pipe SDXL --sched DDIM --steps 20 --num-samples 32"
        " --batch-size 1 --fast --sizes 1 2 --prefix SDXL-{x}"
    ).split(" ")
    spec = json.loads(json.dumps(sweep.spec(sweep.tasks[0], {"batch_size": 1}, "R", "S")))
    assert spec["matrix"] == {"pipe": "SDXL", "sched": "DDIM", "steps": 20}
    assert spec["args"]["batch_size"] == 1
    assert spec["search"] == sweep.search


def test_placeholders_in_a_command_of_one_s_own(tmp_path: Path) -> None:
    text = "matrix: {x: [1]}\nworker: {command: [run, '{x}', '{task}', '{results}', '{spec}.{}']}"
    sweep = read(tmp_path, text)
    assert sweep.argv(sweep.tasks[0], {}, "R", "S") == ["run", "1", "1", "R", "S.{}"]
    assert sweep.check is None


def test_arguments_arrive_alike_on_the_command_line_and_in_the_spec(tmp_path: Path) -> None:
    text = (
        "matrix: {x: [1e-4], on_: [true]}\n"
        "worker: {command: [run], args: {x: ['{x}', '{{x}}', 2, false], y: 'a/{task}', z: '~/{on_}'}}\n"
        "search: {bound: 1e-2, name: '1e-2'}"
    )
    sweep = read(tmp_path, text)
    home = os.path.expanduser("~")
    assert sweep.argv(sweep.tasks[0], {}, "", "") == (
        ["run", "--x", "1e-4", "{x}", "2", "false", "--y", "a/1e-4_True", "--z", f"{home}/true"]
    )
    assert sweep.spec(sweep.tasks[0], {}, "", "") == {
        "task": "1e-4_True",
        "matrix": {"x": 0.0001, "on_": True},
        "args": {"x": ["1e-4", "{x}", 2, False], "y": "a/1e-4_True", "z": f"{home}/true"},
        "search": {"bound": 0.01, "name": "1e-2"},
    }
    assert sweep.question()["search"] == {"bound": 0.01, "name": "1e-2"}


def test_what_others_refer_to_stands_under_keys_of_one_s_own(tmp_path: Path) -> None:
    text = "x-common: &c {A: 1}\nshared: [&b {C: 3}]\nmatrix: {x: [1]}\nworker: {env: {<<: [*c, *b], B: 2}}"
    assert read(tmp_path, text).env == {"A": 1, "B": 2, "C": 3}


def test_the_digest_of_earlier_versions(tmp_path: Path) -> None:
    """Completions hold across an upgrade: the digest is what it was before texts were filled otherwise."""
    text = (
        "matrix: {x: [1e-4, true]}\nworker: {command: [a, '~/{{x}}', $A], env: {T: true, H: ~/b}}"
    )
    sweep = read(tmp_path, text)
    assert [sweep.digest(task)[:16] for task in sweep.tasks] == [
        *("b2f6cf39fe6eb95a", "35665e661f2ae6b9")
    ]


def test_the_digest_covers_what_runs_and_nothing_else(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        sweep = read(tmp_path, text)
        return sweep.digest(sweep.tasks[0])

    same = [
        *(GOOD.replace("24GiB", "1GiB"), GOOD.replace("max_attempts: 4", "max_attempts: 5")),
        *(GOOD.replace("12h", "1h"), GOOD.replace("[SDXL, SD15]", "[SDXL, SD15, SD21]")),
        GOOD.replace("all done", "done"),
    ]
    other = [
        *(GOOD.replace("num_samples: 32", "num_samples: 31"), GOOD.replace("N: 1", "N: 2")),
        *(GOOD.replace("goes: here", "goes: there"), GOOD.replace("fast: true", "fast: 1")),
        *(GOOD.replace("worker:\n", "worker:\n  command: [x]\n"), GOOD.replace("SDXL", "XL")),
    ]
    assert {digest(text) for text in same} == {digest(GOOD)}
    assert len({digest(text) for text in [GOOD, *other]}) == 1 + len(other)


def test_an_axis_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b", "a.txt", "c d"):
        (tmp_path / "cases" / name).mkdir(parents=True)
    text = 'matrix: {case: {glob: "cases/*"}, n: [1]}\nworker: {command: [run, "{case}"]}'
    sweep = read(tmp_path, text)
    assert [task.id for task in sweep.tasks] == ["a.txt_1", "b_1", "c d_1"]
    assert sweep.argv(sweep.tasks[0], {}, "", "") == ["run", "cases/a.txt"]


def test_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    text = "matrix: {x: [1]}\nworker: {env: &e {A: 1, B: 2}}\nsearch: {<<: *e, B: 3}"
    assert read(tmp_path, text).search == {"A": 1, "B": 3}


@pytest.mark.parametrize("name", sorted(p.name for p in (REPOSITORY / "sweeps").glob("*.yaml")))
def test_the_sweeps_that_ship(name: str) -> None:
    assert read_sweep(REPOSITORY / "sweeps" / name).tasks


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; a sweep needs at least a matrix (see sweeps/tiny.yaml)"),
        ("# only a comment", "is empty; a sweep needs at least a matrix (see sweeps/tiny.yaml)"),
        ("- a", "holds a list; a sweep is a mapping with at least the key matrix"),
        ("hello", "holds a single value; a sweep is a mapping with at least the key matrix"),
        ("matrix: [a", "line "),
        ("matrix:\n\tp: [a]", "line 2, column 1: is not valid YAML: found character "),
        (b"matrix: \xff", "is not text in UTF-8 (byte 8)"),
        (b"\x00", "line 1: is not valid YAML: the character '\\x00' is not allowed"),
        ("- " * 100_000, "line 1: is nested more than 100 levels deep"),
        ("matrix: !!python/name:os.system {}", "line 1: matrix: !!python/name:os.system is no kind"),
        ("a: &a [*a]", "line 1: is not valid YAML: *a holds itself"),
        ("matrix: {p: [" + "9" * 5000 + "]}", "line 1: matrix.p[0]: 9999"),
        ("name: x", "matrix: is missing; it names the axes and their values, as in {pipe: "),
        ("matrix: {p: {}}", "matrix.p.glob: is missing; it is a pattern of paths, as in {glob: "),
        ("matrix: {p: [a,\non]}", "line 2: matrix.p[1]: on means true in YAML; write true, or put "),
        ("matrix: {p: [1:30]}", "line 1: matrix.p[0]: 1:30 means 90 in YAML; write 90, or put it"),
        ("matrix: {p: [010]}", "line 1: matrix.p[0]: 010 means 8 in YAML; write 8, or put it in"),
        ("matrix: {p: [.nan]}", "line 1: matrix.p[0]: .nan is no number that JSON can hold; as a"),
        (f"matrix: {{p: &p {list(range(400))}, q: *p, r: *p}}", "matrix: its axes make 64,000,000 ta"),
        ("matrix: [a]", "matrix: must be a mapping, as in {key: value}"),
        ("matrix: {}", "matrix: is empty; it needs at least one entry"),
        ("matrix: {p: a}", "matrix.p: must be a list, as in [a, b], not 'a'"),
        ("matrix: {p: }", "matrix.p: is empty; give it a value or remove it"),
        ("matrix: {p: []}", "matrix.p: is empty; it needs at least one value"),
        ("matrix: {p: [[1]]}", "matrix.p: '1' cannot be part of a file name; values become names in "),
        ("matrix: {p: [[~]]}", "matrix.p[0]: must be text, a number, true/false, or a list or mapping"),
        ("matrix: {p: {glob: no-such-*}}", "matrix.p.glob: nothing matches 'no-such-*' in "),
        ("matrix: {p: [1], task: [1]}", "matrix.task: is not a valid axis name; use letters, digits and _"),
        ("matrix: {p: [a, b, a]}", "matrix: two tasks have the id 'a'; remove or rename one value"),
        ("matrix: {p: [a, a_b], q: [b_c, c]}", "matrix: two tasks have the id 'a_b_c'; "),
        ("matrix: {p: [a]}\nmatrix: {p: [b]}", "line 2: duplicate key 'matrix'; it is on line 1 already"),
        ("matrix: {p: [a]}\nsearch: {1: x}", "line 2: search: the key 1 is not text; put it in quotes"),
        ('matrix: {p: [a]}\nname: "\\0"', "line 2: name: '\\x00' holds a character that no command"),
        ("matrix: {p: [.a]}", "matrix: the task id: '.a' begins with a dot; such files are hidden"),
        ("matrix: {p: [a]}\nname: a/b", "name: 'a/b' cannot be a file name; use letters, digits"),
    ],
)  # fmt: skip
def test_one_mistake(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert problems(tmp_path, text)[0].startswith(said)


def test_lists_in_lists_in_lists(tmp_path: Path) -> None:
    """Newer versions of libyaml find this one themselves."""
    (problem,) = problems(tmp_path, "matrix: " + "[" * 100_000)
    assert "nest" in problem


_NO_AXIS = "worker.command[{}]: no axis fills {}; known: p, task, results, spec; "


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("matirx: {}", "matirx: unknown key; did you mean matrix?"),
        ("device: {}", "device: unknown key; did you mean devices?"),
        ("worker: {arg: {}}", "worker.arg: unknown key; did you mean args?"),
        ("worker:", "worker: is empty; give it a value or remove it"),
        ("worker: {command: python x.py}", "worker.command: must be a list, as in [a, b], not "),
        ("worker: {command: []}", "worker.command: is empty; it needs at least one entry"),
        ("worker: {command: [x, '{q}']}", "worker.command[1]: no axis fills {q}; known: p, task"),
        (
            "worker: {command: [sh, -c, '${HOME}']}",
            f"{_NO_AXIS.format(2, '{HOME}')}for a shell's variable write $HOME or ${{{{HOME}}}}",
        ),
        (
            "worker: {command: [awk, '{print}']}",
            f"{_NO_AXIS.format(1, '{print}')}for the braces themselves write {{{{print}}}}",
        ),
        ("worker: {env: {A: '${B:-c}'}}", "worker.env.A: '${B:-c}' is for a shell to expand"),
        ("worker: {env: {A: $(nproc)}}", "worker.env.A: '$(nproc)' is for a shell to expand"),
        ("worker: {args: {x: '{tsak}'}}", "worker.args.x: no axis fills {tsak}; did you mean task?"),
        ("worker: {args: {x: [1, '{tsak}']}}", "worker.args.x[1]: no axis fills {tsak}; did you mean t"),
        ("worker: {args: {p: b}}", "worker.args.p: matrix.p gives --p already; remove one of them"),
        ("worker: {args: {a_b: 1, a-b: 2}}", "worker.args.a-b: worker.args.a_b gives --a-b already; "),
        ("worker: {args: {x: {}}}", "worker.args.x: must be text, a number, true/false or a list"),
        ("worker: {args: {a b: 1}}", "worker.args['a b']: is no name that can be used here"),
        ("worker: {env: {A=B: 1}}", "worker.env['A=B']: is no name that can be used here"),
        ("worker: {env: {A: [1]}}", "worker.env.A: must be text, a number or true/false"),
        ("devices: {max_utilization: five}", "devices.max_utilization: must be a whole number, not"),
        ("devices: {max_utilization: 101}", "devices.max_utilization: must be at most 100, not 101"),
        ("devices: {min_free_memory: 24}", "devices.min_free_memory: 24 is not a size: write a num"),
        ("devices: {min_free_memory: " + "9" * 400 + "GiB}", "devices.min_free_memory: is too large a n"),
        ("limits: {timeout: " + "9" * 400 + "h}", "limits.timeout: is too large a number"),
        ("devices: {idle_for: 3}", "devices.idle_for: 3 is not a duration: write a number and its"),
        *(
            (f"devices: {{cores: {value}}}", "devices.cores: must be auto, off or how many cores each att")
            for value in ("0", "-1", "1.5", "true", "false", "all", "[0, 1]", "{n: 1}", "'2'")
        ),
        *(
            (f"priority: {value}", f"priority: must be a whole number from -100 to 100; more goes first{but}")
            for value, but in [
                ("101", ", not 101"), ("-101", ", not -101"), ("1.0", ", not 1.0"), ("high", ", not 'high'"),
                ("true", ", not True"), ("[1]", ""),
            ]
        ),
        ("priority:", "priority: is empty; give it a value or remove it"),
        ("devices: {share: }", "devices.share: is empty; give it a value or remove it"),
        ("devices: {share: 20GiB}", "devices.share: must be a mapping, as in {key: value}, not '20G"),
        ("devices: {share: {}}", "devices.share.memory: is missing; it is what one attempt needs of a"),
        ("devices: {share: {memory: 20}}", "devices.share.memory: 20 is not a size: write a number"),
        ("devices: {share: {memory: 0GiB}}", "devices.share.memory: must be more than nothing: what"),
        *(
            (f"devices: {{share: {{memory: 1GiB, at_most: {value}}}}}", f"devices.share.at_most: {what}")
            for value, what in [
                ("0", "must be at least 1, not 0"),
                ("49", "must be at most 48, not 49"),
                ("2.5", "must be a whole number, not 2.5"),
                ("", "is empty; give it a value or remove it"),
            ]
        ),
        ("devices: {share: {memory: 1GiB, mps: 1}}", "devices.share.mps: must be true or false, not 1"),
        ("devices: {share: {memory: 1GiB, mp: true}}", "devices.share.mp: unknown key; did you mean mps"),
        *(
            (f"worker: {{preload: {value}}}", "worker.preload: must be auto, off, or the name of a mod")
            for value in ("true", "3", "a-b", "a..b", "run.py/x", "[a]", "''")
        ),
        *(
            (f"worker: {{preload: m, command: {command}}}", "worker.preload: worker.command is to be ")
            for command in ("[run]", "[python, -u, run.py]", "[python, -m]", "[sh, -c, x]")
        ),
        ("worker: {timed: 3}", "worker.timed: must be true or false, not 3"),
        *(
            (f"devices: {{per_task: {value}}}", f"devices.per_task: {what}")
            for value, what in [
                ("0", "must be how many devices each task has at once (at least 1), or the axis"),
                ("1.5", "must be how many devices each task has at once (at least 1), or the axis"),
                ("''", "must be how many devices each task has at once (at least 1), or the axis"),
                ("{p}", "must be how many devices each task has at once (at least 1), or the axis"),
                ("", "is empty; give it a value or remove it"),
                ("gpus", "the matrix has no axis 'gpus'; known: p"),
            ]
        ),
        ("devices: {per_task: p}", "matrix.p: 'a' is no number of devices, which devices.per_task"),
        (
            "devices: {per_task: 3, at_most: 2}",
            "devices.at_most: 2 is less than what a task has at once (3, devices.per_task), so it could",
        ),
        (
            "devices: {per_task: 2, share: {memory: 1GiB}}",
            "devices.share: each task has several devices (devices.per_task), and such a task has them",
        ),
        ("devices: {cores: }", "devices.cores: is empty; give it a value or remove it"),
        ("devices: {cores: on}", "line 2: devices.cores: on means true in YAML; write true, or put it"),
        ("devices: {idle_for: off}", "line 2: devices.idle_for: off means false in YAML"),
        ("devices: {only: [true]}", "devices.only[0]: must be a device's index or UUID, not True"),
        ("retries: {max_attempts: 0}", "retries.max_attempts: must be at least 1, not 0"),
        ("retries: {on_oom: {b: half}}", "retries.on_oom.b: must be halve (the one remedy there is)"),
        ("retries: {on_oom: {b: halve}}", "retries.on_oom.b: worker.args has no whole number of "),
        ("limits: {timeout: 0s}", "limits.timeout: a limit of 0 lets nothing run; without a limit"),
        ("limits: {log: 0MB}", "limits.log: a limit of 0 lets nothing run; without a limit, write none"),
        ("limits: {log: 5}", "limits.log: 5 is not a size"),
        ("limits: {stall: 1x}", "limits.stall: '1x' is not a duration: write a number and its unit"),
        ("validate: {success: ''}", "validate.success: is empty; it needs at least one character"),
        ("exclude: [{}]", "exclude[0]: is empty; it needs at least one entry"),
        ("exclude: [{q: 1}]", "exclude[0].q: the matrix has no such axis; "),
        ("exclude: [{p: aa}]", "exclude[0].p: 'aa' is not a value of that axis; did you mean a?"),
        ("exclude: [{p: a}]", "matrix: no task is left; the exclude rules take all of them"),
        ("include: [{q: 1}]", "include[0].q: the matrix has no such axis; "),
        ("include: [{p: x/../../y}]", "include[0].p: 'x/../../y' cannot be part of a file name; "),
        ("name: 3", "name: must be text, not 3"),
        ("name: ''", "name: '' cannot be a file name; use letters, digits, - and _"),
    ],
)  # fmt: skip
def test_one_mistake_beside_a_good_matrix(tmp_path: Path, more: str, said: str) -> None:
    assert problems(tmp_path, f"matrix: {{p: [a]}}\n{more}")[0].startswith(said)


def test_a_value_of_a_wrong_type_hides_no_other_mistake(tmp_path: Path) -> None:
    text = "matrix: {p: [a, [~], b/c], q: [~]}\nexclude: [{p: d}]"
    assert [problem.partition(":")[0] for problem in problems(tmp_path, text)] == [
        *("matrix.p[1]", "matrix.q[0]", "matrix.p", "exclude[0].p")
    ]


@pytest.mark.parametrize("value", ["../x", "a/b", "", ".", "..", "a\nb", "a\x7f", "x" * 300])
def test_a_matrix_value_cannot_leave_the_folder(tmp_path: Path, value: str) -> None:
    (only,) = problems(tmp_path, json.dumps({"matrix": {"p": [value], "q": [1]}}))
    assert "file name" in only


def test_a_path_found_by_a_glob_cannot_break_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a\nb.case").touch()
    (tmp_path / os.fsdecode(b"\xff.case")).touch()
    found = problems(tmp_path, "matrix: {p: {glob: '*.case'}}")
    assert len(found) == 2
    "".join(found).encode()  # can be printed


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    rules = ", ".join(["{p: a}"] * 3 + ["3", "{p: [a]}", "{p: c}"] + ["{p: zz}"] * 6)
    text = f"""\
matrix: {{p: [a, b, "../x"], q: [1, 2]}}
exclude: [{rules}]
include: [{{p: a}}, {{p: 'a/b', q: 1}}]
worker: {{command: [run, "{{r}}"], arg: 1, args: 3}}
devices: {{idle_for: soon}}
retries: {{on_oom: {{batch_size: halve}}}}
limits: {{}}
limits: {{timeout: 1}}
"""
    found = problems(tmp_path, text)
    keys = {problem.partition(": ")[0] for problem in found}
    assert keys == {
        *("line 8", "exclude[3]", "worker.arg", "worker.args", "devices.idle_for"),
        *("limits.timeout", "matrix.p", "include[0]", "include[1].p", "worker.command[1]"),
        *("retries.on_oom.batch_size", *(f"exclude[{n}].p" for n in range(3, 11))),
    }
    assert not any("pydantic" in problem or "input should" in problem.lower() for problem in found)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").touch()
    with pytest.raises(SweepError, match=r"there is no such file; did you mean .*/tiny\.yaml\?"):
        read_sweep(tmp_path / "tinny.yaml")
    os.truncate(tmp_path / "tiny.yaml", 65 << 20)
    with pytest.raises(SweepError, match=r"tiny\.yaml: is larger than 64 MiB"):
        read_sweep(tmp_path / "tiny.yaml")
    with pytest.raises(SweepError, match="is a folder; a sweep is a YAML file"):
        read_sweep(tmp_path)


# --- as a user meets them ------------------------------------------------------------------------


def test_mistakes_end_the_command_with_2_and_nothing_written(runner: SweepRunner) -> None:
    runner.write_text("matrix: {case: [../x]}\nworker: {command: [x]}\nlimits: {timeout: 5}\n")
    ended = runner.run()
    assert ended.code == 2
    assert ended.out == ""
    said = ended.err.removesuffix("\n").split(f"{runner.file}: ")
    assert [line.partition(":")[0] for line in said] == [
        "",
        "limits.timeout",
        "matrix.case",
        "worker.command",
    ]
    assert list(runner.root.iterdir()) == []
    assert sorted(p.name for p in runner.folder.iterdir()) == ["root", "runner.yaml"]


def test_the_worker_s_objections_stand_beside_our_own(runner: SweepRunner) -> None:
    objection = {"problems": [{"key": "matrix.case", "message": "[a] is no pipe"}]}
    (runner.folder / "check").write_text(
        f"#!/bin/sh\ncat > asked; echo '{json.dumps(objection)}'\n"
    )
    (runner.folder / "check").chmod(0o755)
    runner.write({"a": "ok"}, worker={"check": ["./check"]}, limits={"timeout": 3})
    ended = runner.run()
    assert ended.code == 2
    assert "limits.timeout: 3 is not a duration" in ended.err
    assert "matrix.case: [a] is no pipe" in ended.err
    asked = json.loads((runner.folder / "asked").read_text())
    assert asked["tasks"] == [{"id": "a", "matrix": {"case": "a"}}]
    assert runner.files() == []


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (["./no-such-check"], "there is no program './no-such-check' (worker.check)"),
        (["false"], "false did not answer the question what is wrong with the tasks (exit code 1"),
        (["./no-format"], "./no-format cannot be started (worker.check): Exec format error"),
        (["./no-text"], "./no-text did not answer the question what is wrong with the tasks"),
    ],
)
def test_a_worker_that_cannot_be_asked(runner: SweepRunner, check: list[str], said: str) -> None:
    (runner.folder / "no-format").write_text("cat\n")
    (runner.folder / "no-text").write_text("#!/bin/sh\nprintf '\\377'; printf '\\377' >&2\n")
    for name in ("no-format", "no-text"):
        (runner.folder / name).chmod(0o755)
    runner.write({"a": "ok"}, worker={"check": check})
    ended = runner.run()
    assert ended.code == 2
    assert said in ended.err


def test_the_worker_is_asked_in_its_own_environment(runner: SweepRunner) -> None:
    (runner.folder / "bin").mkdir()
    check = runner.folder / "bin" / "my-check"
    check.write_text(
        '#!/bin/sh\nread _; echo "{\\"problems\\": [{\\"key\\": \\"n\\", \\"message\\": \\"$N\\"}]}"\n'
    )
    check.chmod(0o755)
    path = f"{check.parent}:{os.environ['PATH']}"
    runner.write({"a": "ok"}, worker={"check": ["my-check"], "env": {"PATH": path, "N": 7}})
    ended = runner.run()
    assert (ended.code, ended.err) == (2, f"{runner.file}: n: 7\n")


@pytest.mark.parametrize("worker", ["{command: python x.py}", "{comand: [python, x.py]}", "3"])
def test_the_default_worker_is_not_asked_in_the_place_of_one_that_is_misspelt(
    runner: SweepRunner, worker: str
) -> None:
    runner.write_text(f"matrix: {{case: [a]}}\nworker: {worker}\n")
    ended = runner.run()
    assert ended.code == 2
    assert ended.err.count(f"{runner.file}: ") == 1, ended.err


def test_our_worker_is_asked_about_pipes_and_scheds(runner: SweepRunner) -> None:
    runner.write_text("matrix: {pipe: [SDXXL], sched: [DDIMM], steps: [5]}\n")
    ended = runner.run()
    assert ended.code == 2
    assert "SDXXL" in ended.err
    assert "DDIMM" in ended.err
    assert runner.files() == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("matrix: {p: [a], ? [b] : 1}\n", "line 1: matrix: a key that is a list or mapping; a key is text"),
        ("matrix: {p: [a]}\nlimits: !x {}\n", "line 2: limits: !x is no kind of plain data"),
        ("matrix: {p: [a]}\nworker: {args: {n: .nan}}\n", "line 2: worker.args.n: .nan is no number that"),
        ("matrix: !x {}\n", "line 1: matrix: !x is no kind of plain data"),
        ("!x {}\n", "line 1: !x is no kind of plain data"),
    ],
)  # fmt: skip
def test_what_is_no_plain_data_is_said_once(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SweepError) as raised:
        read_sweep(tmp_path / "s.yaml")
    (said,) = raised.value.problems
    assert said.startswith(problem)


@pytest.mark.parametrize(
    ("section", "limits"),
    [
        ("{}", Limits(None, None, 2**30)),
        ("{timeout: none, stall: 2s, log: none}", Limits(None, 2.0, None)),
        ("{log: 5MB}", Limits(None, None, 5_000_000)),
    ],
)
def test_limits(runner: SweepRunner, section: str, limits: Limits) -> None:
    text = f"matrix: {{case: [a]}}\nworker: {{command: [x]}}\nlimits: {section}\n"
    assert read_sweep(runner.write_text(text)).limits == limits
