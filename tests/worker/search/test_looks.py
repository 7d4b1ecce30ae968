"""When an adaptive search looks at its configurations, and what it costs at most by that."""

from worker.config.settings import Timing
from worker.models.catalogue import find_pipe, find_sched
from worker.models.task import Task
from worker.search.cost import costs_of_first_look, costs_of_tasks, most_of_search
from worker.search.looks import first_look, looks
from worker.search.plan import make_plan
from worker.search.section import Search
from worker.search.studies import Study

SECTION = {
    "strategy": "adaptive",
    "configurations": [{"deepcache": {"cache_interval": [2, 3]}}],
    "controls": {"fewer_steps": [0.5], "guidance_off": [], "null_arm": False},
    "timing": {"warmup": 1, "repeats": 10, "block": 1, "precision": "2%"},
}
ARGS = {"pipe": "TINY_SD15", "sched": "DDIM", "steps": 4, "num_samples": 32, "batch_size": 4}


def test_looks_grow_fourfold_and_end_with_all_prompts():
    assert looks(512) == (8, 32, 128, 512)
    assert looks(200) == (8, 32, 200)
    assert looks(16) == (8, 16)
    assert looks(5) == (5,)
    assert [first_look(128, size) for size in (1, 3, 4, 16, 200)] == [8, 9, 8, 16, 128]


def test_what_a_search_costs_lies_between_its_first_look_and_all_looks_one_at_a_time():
    """Two rounds and a warm-up of four images; then 24 prompts, each candidate beside a baseline."""
    task = Task(find_pipe("TINY_SD15"), find_sched("DDIM"), 4)
    search = Search.model_validate(SECTION)
    configurations, own = make_plan(task, search).configurations, Study("", 32, 4)
    least, most = (
        [cost.images for cost in costs(configurations, task, own, Timing(block=1))]
        for costs in (costs_of_first_look, most_of_search)
    )
    assert least == [12, 12, 12, 12]
    compared = 2 * 4  # before and behind each block, of which there are three
    assert most == [12 + 24 + 24 + 3 * compared, 12, 12 + 24, 12 + 24]
    (known,) = costs_of_tasks({"a": {}}, ARGS, SECTION).values()
    assert known.cost.images == sum(least)
    assert known.cost.denoiser_calls == 3 * (4 + 2 + 4 + 4)
