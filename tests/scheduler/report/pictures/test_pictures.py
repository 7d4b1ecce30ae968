"""The report's pictures: which are shown, within which limit, and how they are looked at in a browser."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.main import main
from scheduler.config.loader import read_sweep
from scheduler.report.pictures.embedding import Pictures, pictures_of
from scheduler.storage.paths import SweepPaths
from scheduler.views.answers import answers_of

pytest.importorskip("plotly", reason="reports are drawn with plotly")
image = pytest.importorskip("PIL.Image", reason="Pillow draws the pictures")
HOSTILE = "</script><img src=x onerror=document.title='taken'>\"'&\u202e\x1b[2J{{ 7*7 }}"
PROMPTS = ["a red circle", HOSTILE]


def png(*colour: int) -> bytes:
    data = io.BytesIO()
    image.new("RGB", (64, 64), colour).save(data, "PNG")
    return data.getvalue()


def metric(name: str, value: float, half: float, better: str | None) -> dict[str, Any]:
    return {"name": name, "value": value, "low": value - half, "high": value + half} | {
        "better": better
    }


def row(label: str, speedup: float, loss: float, psnr: list[float]) -> dict[str, Any]:
    metrics = [metric("clip_score", 30.0 - loss, 0.1, "higher")]
    samples: dict[str, Any] = {}
    if label != "baseline":
        metrics += [metric("speedup", speedup, 0.01, "higher")]
        metrics += [metric("quality_loss", loss, 0.001, "lower")]
        metrics.append({"name": "images_scored", "value": 32})
        samples = {"psnr": psnr, "clip_score": [29.0, 28.0], "baseline_clip_score": [30.0, 31.0]}
    pictures = [
        {"file": f"a.images/{label}-{n}.png", "prompt": prompt, "seed": n}
        for n, prompt in enumerate(PROMPTS)
    ]
    role = "baseline" if label == "baseline" else "candidate"
    plain = {"label": label, "role": role, "metrics": metrics, "configuration": {}}
    return plain | {"samples": samples, "pictures": pictures}


ROWS = [
    row("baseline", 1.0, 0.0, []),
    row("fast", 2.0, 0.01, [20.0, 10.0]),
    row("slow", 1.2, 0.001, [30.0, 40.0]),
]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the checkpoints of a sweep with pictures."""
    monkeypatch.chdir(tmp_path)
    sweep = {"worker": {"command": ["true", "{task}"]}, "matrix": {"t": ["a"]}}
    (tmp_path / "one.yaml").write_text(json.dumps(sweep))
    checkpoints = tmp_path / "checkpoints" / "one"
    (checkpoints / "a.images").mkdir(parents=True)
    for number, one in enumerate(ROWS):
        for picture in one["pictures"]:
            (checkpoints / picture["file"]).write_bytes(png(80 * number, 100, 50))
    write(checkpoints, ROWS)
    return checkpoints


def write(box: Path, rows: list[dict[str, Any]]) -> None:
    (box / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))


def shown(box: Path, **options: Any) -> Pictures:
    sweep = read_sweep(box.parents[1] / "one.yaml")
    asked = [(sweep, SweepPaths(box.parents[1], "one"), sweep.tasks)]
    return pictures_of(asked, answers_of(asked), **options)


def test_each_picture_is_there_once_and_the_best_comes_first(box: Path) -> None:
    found = shown(box)
    assert [(one.label, one.seed) for one in found.pairs] == [
        *(("fast", 0), ("fast", 1)),
        *(("slow", 0), ("slow", 1)),
    ]
    assert [one.psnr for one in found.pairs] == [20.0, 10.0, 30.0, 40.0]
    assert (found.pairs[0].baseline_score, found.pairs[0].score) == (30.0, 29.0)
    assert len(found.images) == 6
    assert (found.left_out, found.missing) == (0, 0)


def test_what_is_beyond_the_limit_is_counted(box: Path) -> None:
    limit = sum(map(len, shown(box).images[:4]))
    found = shown(box, limit=limit)
    assert {pair.label for pair in found.pairs} == {"fast"}
    assert found.left_out == 2
    assert sum(map(len, found.images)) <= limit


@pytest.mark.parametrize("file", ["../secret.png", "/etc/x.png", "a.images/../../x.png", "b/x.png"])
def test_nothing_is_read_from_elsewhere(box: Path, file: str) -> None:
    for place in (box.parent / "secret.png", box.parent / "x.png"):
        place.write_bytes(png(1, 2, 3))
    rows = json.loads(json.dumps(ROWS))
    rows[1]["pictures"][0]["file"] = file
    write(box, rows)
    found = shown(box)
    assert (len(found.pairs), found.missing) == (3, 1)


def test_what_is_no_picture_costs_its_pair_alone(box: Path) -> None:
    (box / "a.images" / "fast-0.png").write_text("<svg onload=alert(1)>")
    (box / "a.images" / "fast-1.png").unlink()
    (box / "a.images" / "fast-1.png").symlink_to(box / "a.images" / "slow-0.png")
    found = shown(box)
    assert {one.label for one in found.pairs} == {"slow"}
    assert found.missing == 2


def test_without_pictures_there_is_no_section(box: Path) -> None:
    write(box, [{key: one[key] for key in one if key != "pictures"} for one in ROWS])
    assert main(["report", "one.yaml"]) == 0
    assert "h-pictures" not in Path("one-report.html").read_text()


@pytest.mark.parametrize("width, scheme", [(360, "dark"), (1200, "light")])
def test_they_are_looked_at(box: Path, tab: Any, axe: Any, width: int, scheme: Any) -> None:
    assert main(["report", "one.yaml"]) == 0
    tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(Path("one-report.html").absolute().as_uri())
    captions = tab.locator("#picture-pairs figcaption").all_inner_texts()
    assert "PSNR 10.0 dB" in captions[0]  # the least alike first
    assert "onerror" in captions[0]
    assert "PSNR 20.0 dB · CLIP score 30.00 → 29.00" in captions[1]
    assert tab.evaluate("[...document.images].every((one) => one.naturalWidth === 64)")
    alternatives = tab.locator("#picture-pairs img").evaluate_all("(all) => all.map((i) => i.alt)")
    assert alternatives[2:] == ["baseline: a red circle", "fast: a red circle"]
    assert axe(tab) == []
    look(tab, box, f"beside-{width}")

    tab.select_option("#picture-view", "difference")
    blend = "(one) => getComputedStyle(one).mixBlendMode"
    assert tab.locator("#picture-pairs .one").nth(1).evaluate(blend) == "difference"
    assert axe(tab) == []
    look(tab, box, f"difference-{width}")

    tab.select_option("#picture-view", "flicker")
    second = tab.locator("#picture-pairs .one").nth(1)
    assert not second.is_visible()
    assert tab.inner_text("#picture-which") == "Shown: baseline"
    tab.focus("#picture-turn")
    tab.keyboard.press("Enter")
    assert second.is_visible()
    assert tab.inner_text("#picture-which") == "Shown: fast"
    assert axe(tab) == []
    tab.select_option("#picture-configuration", label="slow")
    assert "PSNR 30.0 dB" in tab.locator("#picture-pairs figcaption").first.inner_text()
    assert tab.title() == "Report: one"
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_it_flickers_by_itself_where_motion_is_welcome_and_can_be_held(box: Path, tab: Any) -> None:
    assert main(["report", "one.yaml"]) == 0
    tab.clock.install()
    tab.emulate_media(reduced_motion="no-preference")
    tab.goto(Path("one-report.html").absolute().as_uri())
    tab.select_option("#picture-view", "flicker")
    states = []
    for held, motion in ((False, "no-preference"), (True, "no-preference"), (False, "reduce")):
        tab.set_checked("#picture-still", held)
        tab.emulate_media(reduced_motion=motion)
        before = tab.inner_text("#picture-which")
        tab.clock.run_for(700)
        states.append(before != tab.inner_text("#picture-which"))
    assert states == [True, False, False]


def look(tab: Any, box: Path, name: str) -> None:
    tab.locator("section", has=tab.locator("#h-pictures")).screenshot(path=box / f"{name}.png")
