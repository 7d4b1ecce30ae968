"""Scenes and captions: how many there are, and that the split holds."""

import pytest
import torch

from worker.shapes.grammar import (
    Column,
    alter_scenes,
    captions_of,
    draw_scenes,
    has_two_objects,
    held_out_scenes,
    is_held_out,
    objects_by_place,
    turn_round,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_there_are_tens_of_thousands_of_captions():
    scenes = draw_scenes(100_000, seeded())
    assert len(set(captions_of(scenes))) > 50_000


def test_the_same_seed_draws_the_same_scenes():
    assert torch.equal(draw_scenes(100, seeded(3)), draw_scenes(100, seeded(3)))
    assert not torch.equal(draw_scenes(100, seeded(3)), draw_scenes(100, seeded(4)))


def test_a_caption_says_all_that_a_scene_is():
    scenes = torch.unique(draw_scenes(5_000, seeded()), dim=0)
    assert len(set(captions_of(scenes))) == len(scenes)


def test_no_held_out_combination_is_drawn_for_training():
    assert not is_held_out(draw_scenes(5_000, seeded())).any()
    assert is_held_out(draw_scenes(5_000, seeded(), held_out=True)).all()


def test_training_and_held_out_captions_are_disjoint():
    training = set(captions_of(draw_scenes(20_000, seeded())))
    assert training.isdisjoint(captions_of(held_out_scenes(5_000)))


def test_training_shows_every_pair_of_values_of_a_held_out_combination():
    scenes = draw_scenes(20_000, seeded())
    for pair in (
        (Column.COLOUR, Column.SHAPE),
        (Column.SHAPE, Column.BACKGROUND),
        (Column.COLOUR, Column.BACKGROUND),
    ):
        seen = len(torch.unique(scenes[:, list(pair)], dim=0))
        # no object has the colour of its background
        assert seen == (56 if pair == (Column.COLOUR, Column.BACKGROUND) else 64)


@pytest.mark.parametrize("held_out", [False, True])
def test_an_altered_scene_differs_in_one_attribute_and_stays_on_its_side(held_out):
    scenes = draw_scenes(2_000, seeded(), held_out=held_out)
    altered = alter_scenes(scenes, seeded(1), held_out=held_out)
    assert ((altered != scenes).sum(1) == 1).all()
    assert (is_held_out(altered) == held_out).all()


def test_fewer_held_out_captions_are_the_first_of_more():
    captions = captions_of(held_out_scenes(200))
    assert len(set(captions)) == 200
    assert captions_of(held_out_scenes(50)) == captions[:50]


def test_a_scene_turned_round_has_the_opposite_relation():
    scenes = draw_scenes(1_000, seeded())
    scenes = scenes[has_two_objects(scenes)]
    opposites = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for caption, turned in zip(captions_of(scenes), captions_of(turn_round(scenes)), strict=True):
        (relation,) = (word for word in opposites if f" {word} a " in caption)
        assert turned == caption.replace(f" {relation} a ", f" {opposites[relation]} a ")


def test_a_scene_of_one_object_cannot_be_turned_round():
    scenes = draw_scenes(1_000, seeded())
    assert torch.equal((turn_round(scenes) != scenes).any(1), has_two_objects(scenes))


def test_whichever_is_named_first_the_object_on_the_left_or_on_top_comes_first():
    scenes = draw_scenes(1_000, seeded())
    scenes = scenes[has_two_objects(scenes)]
    first, other = scenes[:, : Column.OTHER_SIZE], scenes[:, Column.OTHER_SIZE : Column.PLACE]
    for caption, objects, named in zip(
        captions_of(scenes),
        objects_by_place(scenes),
        torch.stack([first, other], 1),
        strict=True,
    ):
        as_named = " left of " in caption or " above " in caption
        assert torch.equal(objects, named if as_named else named.flip(0))


def test_an_only_object_is_first_and_other():
    scenes = draw_scenes(1_000, seeded())
    scenes = scenes[~has_two_objects(scenes)]
    objects = objects_by_place(scenes)
    assert torch.equal(objects[:, 0], scenes[:, : Column.OTHER_SIZE])
    assert torch.equal(objects[:, 0], objects[:, 1])
