"""The training loop: what is stopped goes on as if it had not been."""

from dataclasses import replace

import pytest
import torch

from worker.errors import ConfigurationError
from worker.shapes import train
from worker.shapes.trainer import Objective, Recipe, fit

RECIPE = Recipe(steps=40, batch_size=4, pool_size=16, learning_rate=0.1)


class StoppedError(Exception):
    pass


def objective(stop_at=None, poison=False):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    drawn = 0

    def draw(generator):
        nonlocal drawn
        drawn += 1
        if drawn == stop_at:
            raise StoppedError
        return (torch.randn(4, 3, generator=generator),)

    def loss(model, inputs):
        return (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    if poison:
        return Objective("line", model, draw, lambda model, inputs: model(inputs).sum() * torch.nan)
    return Objective("line", model, draw, loss)


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    whole = fit(objective(), RECIPE, tmp_path / "whole.safetensors", seed=1)
    with pytest.raises(StoppedError):
        fit(objective(stop_at=23), RECIPE, tmp_path / "parts.safetensors", seed=1)
    parts = fit(objective(), RECIPE, tmp_path / "parts.safetensors", seed=1)
    assert torch.equal(whole.weight, parts.weight)
    assert torch.equal(whole.bias, parts.bias)


def test_a_run_that_resumes_says_from_where(tmp_path, capsys):
    with pytest.raises(StoppedError):
        fit(objective(stop_at=23), RECIPE, tmp_path / "state.safetensors", seed=1)
    fit(objective(), RECIPE, tmp_path / "state.safetensors", seed=1)
    assert "line: going on after step 20 of 40" in capsys.readouterr().out


def test_training_learns(tmp_path):
    recipe = Recipe(steps=400, batch_size=4, pool_size=16, learning_rate=0.1)
    model = fit(objective(), recipe, tmp_path / "state.safetensors", seed=1)
    assert (model.weight - 1).abs().max() < 0.05


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path):
    state = tmp_path / "state.safetensors"
    with pytest.raises(FloatingPointError, match="lower the recipe's learning rate"):
        fit(objective(poison=True), RECIPE, state, seed=1)


@pytest.mark.parametrize(
    ("recipe", "seed", "name", "said"),
    [
        (RECIPE, 2, "line", "seed 1 there, 2 here"),
        (replace(RECIPE, steps=20), 1, "line", "steps 40 there, 20 here"),
        (replace(RECIPE, learning_rate=0.2), 1, "line", "learning_rate 0.1 there, 0.2 here"),
        (RECIPE, 1, "curve", "part line there, curve here"),
    ],
)
def test_the_state_of_another_run_is_refused(tmp_path, recipe, seed, name, said):
    state = tmp_path / "state.safetensors"
    fit(objective(), RECIPE, state, seed=1)
    with pytest.raises(ConfigurationError, match=said):
        fit(replace(objective(), name=name), recipe, state, seed)


@pytest.mark.parametrize("kept", [0, 7, 500])
def test_a_damaged_state_is_refused_in_a_sentence(tmp_path, kept):
    state = tmp_path / "state.safetensors"
    fit(objective(), RECIPE, state, seed=1)
    state.write_bytes(state.read_bytes()[:kept])
    with pytest.raises(ConfigurationError, match="is damaged; delete it"):
        fit(objective(), RECIPE, state, seed=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--part", "sd15"], "train it first (--part scorer)"),
        (["--steps", "0"], "expected a whole number from 1 on, found '0'"),
        (["--batch-size", "0"], "expected a whole number from 2 on, found '0'"),
    ],
)
def test_a_mistake_on_the_command_line_is_answered_with_a_sentence(
    tmp_path, capsys, arguments, said
):
    assert run(["--out", str(tmp_path / "out"), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_file_is_no_folder_to_train_into(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(["--out", str(tmp_path / "file")]) == 2
    assert "file cannot be a folder" in capsys.readouterr().err


def run(arguments):
    try:
        return train.main(arguments)
    except SystemExit as stopped:
        return stopped.code
