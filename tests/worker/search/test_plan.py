"""What is measured, what is left out, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.config.settings import PipelineSettings
from worker.errors import ConfigurationError
from worker.models.catalogue import PIPES, find_pipe, find_sched
from worker.models.families.registry import family_of
from worker.models.task import Task
from worker.search.configuration import BASELINE
from worker.search.incompatible import incompatibility
from worker.search.plan import make_plan
from worker.search.section import Search, read_search
from worker.search.simplify import simplify


def plan(configurations, pipe="SD15", sched="DDIM", steps=50, **more):
    section = {
        "configurations": configurations,
        "controls": {"fewer_steps": [], "guidance_off": [], "null_arm": False},
        **more,
    }
    task = Task(find_pipe(pipe), find_sched(sched), steps)
    return make_plan(task, Search.model_validate(section))


def labels(made):
    return [item.label for item in made.configurations]


def test_lists_are_axes():
    made = plan([{"deepcache": {"cache_interval": [2, 3], "cache_branch_id": [0, 1]}}])
    assert labels(made) == [
        "baseline",
        "DeepCache 2/0",
        "DeepCache 2/1",
        "DeepCache 3/0",
        "DeepCache 3/1",
    ]


@pytest.mark.parametrize(
    ("configuration", "pipe", "words"),
    [
        ({"deepcache": {"cache_interval": 1}}, "SD15", "reuses nothing"),
        ({"tome": {"ratio": 0.0}}, "SD15", "ratio 0"),
        ({"tome": {"ratio": 0.5, "max_downsample": 1}}, "SDXL", "starts at downsample 2"),
        ({"tome": {"ratio": 0.5, "merge_attn": False}}, "SD15", "merges nothing"),
        ({"tome": {"ratio": 0.5, "sx": 1, "sy": 1}}, "SD15", "sx 1 and sy 1"),
        ({"tgate": {"gate_step": 50}}, "SD15", "not before the last of 50"),
        ({"tgate": {"gate_step": 80}}, "SD15", "not before the last of 50"),
    ],
)
def test_configurations_that_do_nothing_are_the_baseline(configuration, pipe, words):
    made = plan([configuration], pipe=pipe)
    assert labels(made) == ["baseline"]
    assert words in made.left_out[0].reason
    assert "'baseline'" in made.left_out[0].reason


@pytest.mark.parametrize(
    ("one", "other", "pipe"),
    [
        ({"deepcache": {"cache_interval": 51}}, {"deepcache": {"cache_interval": 90}}, "SD15"),
        (
            {"tome": {"ratio": 0.5, "max_downsample": 4}},
            {"tome": {"ratio": 0.5, "max_downsample": 8}},
            "SDXL",
        ),
        (
            {"deepcache": {"cache_interval": 3}},
            {"deepcache": {"cache_interval": 3, "power": 1.4}},
            "SD15",
        ),
        (
            {"deepcache": {"cache_interval": 3, "cache_branch_id": 4}},
            {"deepcache": {"cache_interval": 3, "cache_branch_id": 5}},
            "SHAPES_SD15",
        ),
        ({"tgate": {"gate_step": 10}}, {"tgate": {"gate_step": 0.2}}, "SD15"),
        ({"tgate": {"gate_step": 10}}, {"tgate": {"gate_step": 10, "warm_up": 3}}, "SD15"),
        (
            {"tgate": {"gate_step": 3, "sp_interval": 5, "warm_up": 2}},
            {"tgate": {"gate_step": 3}},
            "SD15",
        ),
        (
            {"deepcache": {"cache_interval": 3}, "tome": {"ratio": 0.5}},
            {"deepcache": {"cache_interval": 3}},
            "SDXL",
        ),
        (
            {"tome": {"ratio": 0.6, "sy": 1}},
            {"tome": {"ratio": 0.75, "sy": 1}},
            "SD15",
        ),
    ],
)
def test_configurations_that_cannot_differ_are_measured_once(one, other, pipe):
    made = plan([one, other], pipe=pipe)
    assert len(made.configurations) == 2
    assert len(made.left_out) == 1


def test_schedules_with_the_same_full_calls_are_measured_once():
    alone = {"cache_interval": 50, "center": [10, 15], "power": [1.2, 1.4, 2.0]}
    made = plan([{"deepcache": alone}, {"deepcache": {"cache_interval": [50, 70]}}])
    assert len(made.configurations) == 2
    assert len(made.left_out) == 7
    assert "the same calls of the UNet are full" in made.left_out[0].reason


def test_deepcache_is_off_where_the_gate_makes_every_call_full():
    both = {"deepcache": {"cache_interval": 2}, "tgate": {"gate_step": 1}}
    made = plan([{"tgate": {"gate_step": 1}}, both], steps=2)
    assert labels(made) == ["baseline", "T-GATE 1"]
    assert "each of the 2 UNet calls is full" in made.left_out[0].reason


def test_a_center_that_is_no_call_is_left_out():
    made = plan([{"deepcache": {"cache_interval": 5, "center": [15, 50]}}])
    assert labels(made) == ["baseline", "DeepCache 5/0 non-uniform around 15"]
    assert made.left_out[0].reason == "center 50 is not one of the 50 UNet calls"


def test_a_schedule_that_cannot_be_bent_is_left_out():
    made = plan([{"deepcache": {"cache_interval": 2, "center": 25}}])
    assert labels(made) == ["baseline"]
    assert "no non-uniform schedule around UNet call 25 has 25 full calls" in (
        made.left_out[0].reason
    )


def test_gate_behind_the_end_with_sp_interval_is_not_the_baseline():
    made = plan([{"tgate": {"gate_step": 60, "sp_interval": 5}}])
    assert len(made.configurations) == 2


@pytest.mark.parametrize("interval", ["sp_interval", "fi_interval"])
def test_reused_self_attention_beside_tome_is_refused(interval):
    made = plan([{"tome": {"ratio": 0.5}, "tgate": {"gate_step": 10, interval: 2}}])
    assert labels(made) == ["baseline"]
    assert "wrong tokens" in made.left_out[0].reason


def test_merged_cross_attention_beside_tgate_is_refused():
    tome = {"ratio": 0.5, "merge_crossattn": [False, True]}
    made = plan([{"tome": tome, "tgate": {"gate_step": 10}}])
    assert labels(made) == ["baseline", "ToMe 0.5/1 + T-GATE 10"]
    assert "wrong tokens" in made.left_out[0].reason


@pytest.mark.parametrize(("size", "stride", "fits"), [(64, 8, True), (64, 9, False), (72, 9, True)])
def test_strides_of_tome_must_fit_into_the_latent_image(size, stride, fits):
    tome = {"ratio": 0.5, "sx": stride}
    made = plan([{"tome": tome}], pipe="TINY_SD15", image_size=size)
    assert len(made.configurations) == 1 + fits
    assert fits or "only 8 in a row" in made.left_out[0].reason


def test_strides_are_held_against_the_smallest_image_that_is_reached():
    tome = {"ratio": 0.5, "max_downsample": [1, 2, 4, 8], "sy": 4}
    made = plan([{"tome": tome}], pipe="TINY_SD15")
    assert labels(made)[1:] == ["ToMe 0.5/1 sy 4", "ToMe 0.5/2 sy 4"]


def test_branch_that_the_unet_lacks_is_refused():
    made = plan([{"deepcache": {"cache_interval": 3, "cache_branch_id": [8, 9]}}], pipe="SDXL")
    assert labels(made) == ["baseline", "DeepCache 3/8"]
    assert "branches 0 to 8" in made.left_out[0].reason


def test_a_denoiser_that_no_accelerator_knows_is_left_alone(monkeypatch):
    family = type(family_of(find_pipe("SD15").architecture))
    monkeypatch.setattr(family, "denoiser", "transformer")
    monkeypatch.setattr(family, "denoiser_title", "transformer")
    made = plan([{"deepcache": {"cache_interval": 2}}, {"tgate": {"gate_step": 10}}])
    assert labels(made) == ["baseline"]
    assert [item.reason for item in made.left_out] == [
        f"{title} changes a pipeline's unet, and those of the family sd have a transformer: "
        "leave it out there"
        for title in ("DeepCache", "T-GATE")
    ]


def test_controls_are_there_by_default():
    made = make_plan(Task(PIPES["SD15"], find_sched("DDIM"), 50), Search())
    assert labels(made)[:5] == [
        "baseline",
        "baseline, other seeds",
        "25 steps",
        "15 steps",
        "guidance off after 20",
    ]
    assert [item.role for item in made.configurations[:5]] == ["baseline"] + ["control"] * 4


def test_steps_are_counted_in_calls_of_the_unet():
    made = plan([{"tgate": {"gate_step": 0.4}}], sched="HeunDiscrete", steps=10)
    assert made.configurations[1].accelerators["tgate"]["gate_step"] == 8


def test_without_guidance_there_is_none_to_drop():
    search = Search.model_validate({"guidance_scale": 1.0, "configurations": []})
    made = make_plan(Task(PIPES["SD15"], find_sched("DDIM"), 50), search)
    assert not any("guidance" in label for label in labels(made))


@pytest.mark.parametrize("name", ["DPMSolverMultistep", "DPMSolverMultistepScheduler"])
def test_class_names_of_diffusers_will_do(name):
    assert find_sched(name).class_name == "DPMSolverMultistepScheduler"


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean SDXL"):
        find_pipe("SDLX")
    with pytest.raises(ConfigurationError, match="did you mean EulerDiscrete"):
        find_sched("EulerDiscret")


def test_labels_tell_all_configurations_of_a_plan_apart():
    grids = [
        {"deepcache": {"cache_interval": 5, "center": [10, 15], "power": [1.2, 1.4]}},
        {
            "tome": {
                "ratio": 0.5,
                "sx": [2, 4],
                "use_rand": [True, False],
                "merge_mlp": [True, False],
            }
        },
        {"tgate": {"gate_step": [10, 20], "sp_interval": [1, 5], "warm_up": [1, 2]}},
    ]
    found = labels(plan(grids))
    assert len(set(found)) == len(found)


def test_tome_is_refused_where_the_unet_is_compiled():
    made = plan([{"tome": {"ratio": 0.5}}], settings={"compile": True})
    assert labels(made) == ["baseline"]
    assert "cannot be compiled" in made.left_out[0].reason


@pytest.mark.parametrize(
    ("section", "key", "words"),
    [
        ({"guidance_scale": float("inf")}, "search.guidance_scale", "finite number, found inf"),
        ({"max_loss": float("nan")}, "search.max_loss", "finite number, found nan"),
        (
            {"configurations": [{"deepcache": {"cache_interval": 2, "power": float("inf")}}]},
            "search.configurations.0.deepcache.power",
            "finite number, found inf",
        ),
        (
            {"settings": {"attention": "plain", "fused_qkv": True}},
            "search.settings",
            "fused_qkv brings fused attention along: set attention to fused",
        ),
    ],
)
def test_what_can_be_no_setting_is_said_before_anything_is_measured(section, key, words):
    search, problems = read_search(section)
    assert search is None
    assert [(found, words in said) for found, said in problems] == [(key, True)]


def one_or_many(values):
    return st.one_of(values, st.lists(values, min_size=1, max_size=3))


steps = st.one_of(st.integers(1, 60), st.floats(0.01, 0.99))
deepcache = st.fixed_dictionaries(
    {"cache_interval": one_or_many(st.integers(1, 60))},
    optional={
        "cache_branch_id": one_or_many(st.integers(0, 14)),
        "center": one_or_many(st.integers(0, 60)),
        "power": one_or_many(st.floats(1.01, 3)),
    },
)
tome = st.fixed_dictionaries(
    {"ratio": one_or_many(st.floats(0, 0.75))},
    optional={
        "max_downsample": one_or_many(st.sampled_from([1, 2, 4, 8])),
        "merge_attn": one_or_many(st.booleans()),
        "merge_mlp": one_or_many(st.booleans()),
    },
)
tgate = st.fixed_dictionaries(
    {"gate_step": one_or_many(steps)},
    optional={
        "sp_interval": one_or_many(st.integers(1, 6)),
        "fi_interval": one_or_many(st.integers(1, 6)),
        "warm_up": one_or_many(st.integers(0, 9)),
    },
)
grids = st.fixed_dictionaries({}, optional={"deepcache": deepcache, "tome": tome, "tgate": tgate})


@given(
    st.lists(grids, max_size=3),
    st.sampled_from(["SD15", "SD21", "SDXL"]),
    st.sampled_from(["DDIM", "PNDM", "HeunDiscrete"]),
    st.integers(2, 50),
)
def test_every_plan_is_sound(configurations, pipe, sched, number):
    made = plan(configurations, pipe=pipe, sched=sched, steps=number)
    task = Task(find_pipe(pipe), find_sched(sched), number)
    assert made.configurations[0] == BASELINE
    keys = [item.key for item in made.configurations]
    assert len(set(keys)) == len(keys)
    for item in made.configurations:
        settings = PipelineSettings()
        assert incompatibility(item.accelerators, task.pipe.architecture, settings, task) is None
        # what was simplified once is as simple as can be
        assert simplify(item, task, guided=True)[0] == item
    assert all(left_out.reason for left_out in made.left_out)
