"""From samples to the rows of a results file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from worker.config.numbers import FEWEST_IMAGES_FOR_FID
from worker.measure.samples import Samples
from worker.measure.settings import MeasurementSettings
from worker.metrics import fid
from worker.results import disturbances, statistics
from worker.results.row import (
    MEASURED,
    Better,
    Disturbed,
    Figures,
    Measurement,
    Metric,
    finite,
    metric,
)

NOT_TIMED = "search.timing is off"
# what a row lacks then
_OF_SPEED = (
    "seconds_per_image",
    "images_per_second",
    "speedup",
    "efficiency",
    "energy_per_image",
    "mean_power",
    "idle_power",
)
# What each image has: its unit, and which is better.
OF_IMAGES: Mapping[str, tuple[str, Better]] = {
    "clip_score": ("", "higher"),
    "psnr": ("dB", "higher"),
    "ssim": ("", "higher"),
    "lpips": ("", "lower"),
}


def make_measurement(
    samples: Samples, baseline: Samples, batch_size: int, precision: float | None = None
) -> Measurement:
    """Return what was measured of one configuration.

    Args:
        samples: what it gave.
        baseline: what the baseline gave that it was interleaved with.
        batch_size: images made at once.
        precision: until which rounds went on, as far as their time allowed.
    """
    metrics: list[Metric] = []
    figures = Figures()
    if samples.failure is None:
        metrics += _latency(samples, batch_size)
        metrics += _device_state(samples, batch_size)
        if samples is not baseline:
            metrics += _against(samples, baseline, precision)
        metrics += _quality(samples)
        figures = _single_figures(samples, baseline)
    configuration = samples.configuration
    return Measurement(
        role=configuration.role,
        label=configuration.label,
        configuration=configuration.as_json(),
        status=samples.failure or MEASURED,
        metrics=metrics,
        samples=figures,
        disturbed=_disturbed(samples),
        absent=samples.absent | _not_told(samples),
    )


def _disturbed(samples: Samples) -> dict[str, Disturbed]:
    """Return how many batches were disturbed, by the kind of disturbance."""
    kept = Counter(why.kind for why in samples.disturbances if why is not None)
    retaken = Counter(why.kind for why in samples.retaken)
    return {
        kind: Disturbed(retaken=retaken[kind], kept=kept[kind]) for kind in sorted(kept | retaken)
    }


def _not_told(samples: Samples) -> dict[str, str]:
    """Return which figures of the host are not known, and why."""
    known = any(host.wait_share is not None for host in samples.hosts)
    if known or not samples.hosts:
        return {}
    return {"wait_share": "the kernel does not tell how long threads wait for a core"}


def _single_figures(samples: Samples, baseline: Samples) -> Figures:
    """Return what the metrics are computed from, with the baseline's beside which it was taken."""
    own = Figures(
        seconds=finite(samples.seconds),
        clip_score=finite(samples.clip),
        arms=list(samples.arms),
        rounds=samples.rounds,
    )
    if samples is baseline:
        return own
    return own.model_copy(
        update={
            "baseline_seconds": finite(baseline.seconds),
            "disturbed_rounds": samples.disturbed_beside(baseline),
            "baseline_clip_score": finite(baseline.clip),
            "psnr": finite(samples.psnr),
            "ssim": finite(samples.ssim),
            "lpips": finite(samples.lpips),
        }
    )


def _latency(samples: Samples, batch_size: int) -> Iterator[Metric]:
    """Yield how long batches took, and on how many of them that rests."""
    seconds = samples.seconds
    if not seconds:
        yield metric("images", samples.images, "", None)
        return
    low, median, high = (statistics.percentile(seconds, share) for share in (25, 50, 75))
    yield metric("seconds_per_image", median / batch_size, "s", "lower")
    yield metric("seconds_per_batch", median, "s", "lower")
    yield metric("seconds_per_batch_p95", statistics.percentile(seconds, 95), "s", "lower")
    yield metric("seconds_per_batch_iqr", high - low, "s", "lower")
    yield metric("images_per_second", batch_size / median, "1/s", "higher")
    yield metric("timed_batches", len(seconds), "", None)
    yield metric("images", samples.images, "", None)
    if samples.setup_seconds is not None:
        yield metric("seconds_setup", samples.setup_seconds, "s", "lower")
    if samples.cold_seconds is not None:
        yield metric("seconds_cold_batch", samples.cold_seconds, "s", "lower")


def _device_state(samples: Samples, batch_size: int) -> Iterator[Metric]:
    """Yield what was read from the device: energy, use, clock, disturbances, memory."""
    yield from _energy(samples, batch_size)
    readings = samples.readings
    yield from _mean("gpu_utilization", [item.utilization for item in readings], "%")
    yield from _mean("gpu_clock", [item.clock for item in readings], "MHz")
    yield from _host_state(samples)
    if samples.retaken:
        yield metric("batches_retaken", len(samples.retaken), "", None)
    disturbed = sum(why is not None for why in samples.disturbances)
    if disturbed:
        yield metric("batches_disturbed", disturbed, "", None)
    if samples.peak_memory is not None:
        yield metric("peak_memory", samples.peak_memory, "B", "lower")


def _host_state(samples: Samples) -> Iterator[Metric]:
    """Yield what the host gave to the timed batches."""
    hosts = samples.hosts
    seconds = [host.cpu_seconds for host in hosts if host.cpu_seconds is not None]
    if seconds:
        low, median, high = (statistics.percentile(seconds, share) for share in (25, 50, 75))
        yield metric("cpu_seconds_per_batch", median, "s", "lower")
        yield metric("cpu_seconds_per_batch_iqr", high - low, "s", "lower")
    yield from _mean("host_share", [host.host_share for host in hosts], "")
    yield from _mean("wait_share", [host.wait_share for host in hosts], "")
    yield from _mean("core_slowness", [host.slowness for host in hosts], "×")
    yield from _mean("involuntary_switches", [host.involuntary_switches for host in hosts], "")


def _energy(samples: Samples, batch_size: int) -> Iterator[Metric]:
    energy = samples.energy
    if energy is not None:
        per_image = energy.joules / (energy.calls * batch_size)
        yield metric("energy_per_image", per_image, "J", "lower")
        yield metric("mean_power", energy.joules / energy.seconds, "W", None)
        yield metric("idle_power", energy.idle_watts, "W", None)


def _mean(name: str, values: Sequence[float | None], unit: str) -> Iterator[Metric]:
    """Yield the mean of the values that are known, if there is one."""
    known = [value for value in values if value is not None]
    if known:
        yield metric(name, sum(known) / len(known), unit, None)


def _against(samples: Samples, baseline: Samples, precision: float | None) -> Iterator[Metric]:
    """Yield what compares a configuration with its baseline, pair by pair."""
    gain = _gain(samples, baseline, precision)
    if gain is not None:
        yield metric("speedup", gain.value, "×", "higher", low=gain.low, high=gain.high)
        yield metric("speedup_pairs", len(samples.pairs_with(baseline)[0]), "", None)
        if gain.relative_half_width is not None:
            yield metric("precision", gain.relative_half_width, "", "lower")
    if samples.peak_memory is not None and baseline.peak_memory is not None:
        yield metric("memory_added", samples.peak_memory - baseline.peak_memory, "B", "lower")
    # of a mean score of zero no share can be lost
    if samples.clip and sum(baseline.clip) != 0:
        loss = statistics.relative_loss(baseline.clip, samples.clip)
        yield from of_loss(loss, None if gain is None else gain.value)
    if samples.features:
        yield metric("fid", fid.distance(samples.features, baseline.features), "", "lower")


def _gain(
    samples: Samples, baseline: Samples, precision: float | None
) -> statistics.Estimate | None:
    """Return the speed-up, or None where no speed was measured."""
    if not samples.seconds:
        return None
    pairs = samples.pairs_with(baseline)
    return statistics.speedup(*pairs, stopped_when_narrow=precision is not None)


def _quality(samples: Samples) -> Iterator[Metric]:
    if samples.clip:
        yield metric("images_scored", len(samples.clip), "", None)
    if samples.contrast.blank:
        yield metric("images_without_contrast", samples.contrast.blank, "", "lower")
    yield from of_images(
        {
            "clip_score": samples.clip,
            "psnr": samples.psnr,
            "ssim": samples.ssim,
            "lpips": samples.lpips,
        }
    )


def of_images(values: Mapping[str, Sequence[float]]) -> Iterator[Metric]:
    """Yield the mean of each metric of images, with its interval, from one value for each image."""
    for name, (unit, better) in OF_IMAGES.items():
        if values[name]:
            mean = statistics.mean(values[name])
            yield metric(name, mean.value, unit, better, low=mean.low, high=mean.high)


def of_loss(loss: statistics.Estimate, speedup: float | None) -> Iterator[Metric]:
    """Yield a relative loss of CLIP score, and the efficiency: the speed-up divided by 1 + loss."""
    yield metric("quality_loss", loss.value, "", "lower", low=loss.low, high=loss.high)
    if speedup is not None:
        yield metric("efficiency", speedup / (1 + loss.value), "", "higher")


def absent(settings: MeasurementSettings) -> dict[str, str]:
    """Return which figures these settings leave out, and why."""
    of_speed = dict.fromkeys(_OF_SPEED, NOT_TIMED) if settings.timing.is_off else {}
    return of_speed | _absent_quality(settings)


def _absent_quality(settings: MeasurementSettings) -> dict[str, str]:
    if settings.clip is None:
        named = ("clip_score", "quality_loss", "psnr", "ssim", "lpips", "fid", "image_reward")
        return dict.fromkeys(named, "with random weights the images mean nothing")
    reasons = {
        "image_reward": "its weights are published only as a pickle file, which is not loaded here"
    }
    if settings.lpips is None:
        reasons["lpips"] = "search.lpips names no weights"
    if settings.fid is None:
        reasons["fid"] = "search.fid names no weights"
    elif settings.num_samples < FEWEST_IMAGES_FOR_FID:
        found = f"needs at least {FEWEST_IMAGES_FOR_FID:,} images, found {settings.num_samples:,}"
        reasons["fid"] = found
    return reasons


M = TypeVar("M", bound=Measurement)


def with_cost(row: M, images: int, seconds: float) -> M:
    """Return a measurement with what further calls cost added to what it cost before.

    Args:
        row: the measurement.
        images: made in these calls.
        seconds: for which they had the device.
    """
    further = (("images_generated", images, ""), ("gpu_seconds", seconds, "s"))
    cost = [
        metric(name, added + (row.value_of(name) or 0), unit, "lower")
        for name, added, unit in further
    ]
    names = {item.name for item in cost}
    kept = [item for item in row.metrics if item.name not in names]
    return row.model_copy(update={"metrics": [*kept, *cost]})


def with_costs(
    measured: Sequence[Measurement], made: Sequence[int], seconds: float
) -> list[Measurement]:
    """Return measurements with what they cost; the seconds evenly over those that did not fail.

    Args:
        measured: what is written of a block.
        made: images of each; those of any beyond, of which nothing is written, and of failed ones
            count with the first that did not fail, or with the first where all did.
        seconds: for which the whole block had the device.
    """
    good = [number for number, row in enumerate(measured) if row.status == MEASURED]
    bearers = good or range(len(measured))[:1]
    costs = {number: made[number] for number in bearers}
    if bearers:
        costs[bearers[0]] += sum(made) - sum(costs.values())
    return [
        with_cost(row, costs[number], seconds / len(bearers)) if number in costs else row
        for number, row in enumerate(measured)
    ]


def in_words(row: Measurement, precision: float | None = None) -> str:
    """Return one line for the log: figures, each with its interval where there is one.

    Args:
        row: the measurement.
        precision: what was asked for; where it was not reached, that is said.
    """
    if row.status != MEASURED:
        return f"{row.label}: {row.status}; the next configuration follows"
    seconds = row.value_of("seconds_per_image")
    words = [
        f"{row.value_of('images') or 0:.0f} images" if seconds is None else f"{seconds:.3f} s/image"
    ]
    for name, before, form, unit in (
        ("speedup", "", ".2f", "x"),
        ("clip_score", "CLIP ", ".2f", ""),
        ("quality_loss", "loss ", "+.2%", ""),
        ("psnr", "PSNR ", ".1f", " dB"),
    ):
        found = row.estimate_of(name)
        if found is not None:
            ends = "" if found.low is None else f" [{found.low:{form}}, {found.high:{form}}]"
            words.append(f"{before}{found.value:{form}}{unit}{ends}")
    beside_load = disturbances.is_beside_load(row)
    if precision is not None and (beside_load or not row.reaches(precision)):
        half = row.value_of("precision")
        reached = "is not known" if half is None else f"is known to ±{100 * half:.2g}%"
        reached += " beside load only" if beside_load and half is not None else ""
        words.append(f"the speed-up {reached}, asked ±{100 * precision:g}%: the time is spent")
    disturbed = disturbances.in_words([row])
    words += [] if disturbed is None else [disturbed]
    return f"{row.label}: {', '.join(words)}"
