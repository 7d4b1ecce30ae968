"""From samples to the rows of a results file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.measure.evaluation import Samples
from worker.metrics import fid
from worker.results import statistics
from worker.results.file import Row, finite, metric, value_of


def make_row(samples: Samples, baseline: Samples, batch_size: int) -> Row:
    """Return one measurement as a row; ``baseline`` is what it was interleaved with."""
    configuration = samples.configuration
    row: Row = {
        "role": configuration.role,
        "label": configuration.label,
        "configuration": configuration.as_json(),
        "status": "measured",
        "metrics": [],
        "samples": {},
        "files": [],
    }
    if samples.failure is not None:
        return row | {"status": samples.failure}
    row["metrics"] = [
        *_times(samples, batch_size),
        *(_against(samples, baseline) if samples is not baseline else ()),
        *_quality(samples),
    ]
    row["samples"] = _single_figures(samples, baseline)
    return row


def _single_figures(samples: Samples, baseline: Samples) -> Row:
    """Return what the metrics were computed from, with the baseline's beside which it was taken."""
    figures = {"seconds": samples.seconds, "clip_score": samples.clip}
    if samples is not baseline:
        figures |= {"baseline_seconds": baseline.seconds, "baseline_clip_score": baseline.clip}
        figures |= {"psnr": samples.psnr, "ssim": samples.ssim, "lpips": samples.lpips}
    return {name: finite(values) for name, values in figures.items() if values}


def _times(samples: Samples, batch_size: int) -> list[Row]:
    seconds = samples.seconds
    low, median, high = (statistics.percentile(seconds, share) for share in (25, 50, 75))
    metrics = [
        metric("seconds_per_image", median / batch_size, "s", "lower"),
        metric("seconds_per_batch", median, "s", "lower"),
        metric("seconds_per_batch_p95", statistics.percentile(seconds, 95), "s", "lower"),
        metric("seconds_per_batch_iqr", high - low, "s", "lower"),
        metric("images_per_second", batch_size / median, "1/s", "higher"),
        metric("timed_batches", len(seconds), "", None),
        metric("images", samples.images, "", None),
    ]
    if samples.setup_seconds is not None:
        metrics.append(metric("seconds_setup", samples.setup_seconds, "s", "lower"))
    if samples.cold_seconds is not None:
        metrics.append(metric("seconds_cold_batch", samples.cold_seconds, "s", "lower"))
    told = [
        (reading.joules, taken)
        for reading, taken in zip(samples.readings, seconds, strict=True)
        if reading.joules is not None
    ]
    if told:
        total = sum(joules for joules, _ in told)
        metrics += [
            metric("energy_per_image", total / (len(told) * batch_size), "J", "lower"),
            metric("mean_power", total / sum(taken for _, taken in told), "W", None),
        ]
    used = [item.utilization for item in samples.readings if item.utilization is not None]
    if used:
        metrics.append(metric("gpu_utilization", sum(used) / len(used), "%", None))
    clocks = [item.clock for item in samples.readings if item.clock is not None]
    if clocks:
        metrics.append(metric("gpu_clock", sum(clocks) / len(clocks), "MHz", None))
    if samples.retaken:
        metrics.append(metric("batches_retaken", samples.retaken, "", None))
    spoiled = sum(reading.spoiled is not None for reading in samples.readings)
    if spoiled:
        metrics.append(metric("batches_disturbed", spoiled, "", None))
    if samples.peak_memory is not None:
        metrics.append(metric("peak_memory", samples.peak_memory, "B", "lower"))
    return metrics


def _against(samples: Samples, baseline: Samples) -> list[Row]:
    """Return what compares a configuration with its baseline, pair by pair."""
    gain = statistics.speedup(baseline.seconds, samples.seconds)
    metrics = [metric("speedup", gain.value, "×", "higher", low=gain.low, high=gain.high)]
    if samples.peak_memory is not None and baseline.peak_memory is not None:
        added = samples.peak_memory - baseline.peak_memory
        metrics.append(metric("memory_added", added, "B", "lower"))
    # of a score that is not above zero (a scorer with random weights) no share can be lost
    if samples.clip and sum(baseline.clip) > 0:
        loss = statistics.relative_loss(baseline.clip, samples.clip)
        metrics.append(
            metric("quality_loss", loss.value, "", "lower", low=loss.low, high=loss.high)
        )
        metrics.append(metric("efficiency", gain.value / (1 + loss.value), "", "higher"))
    if samples.features:
        metrics.append(
            metric("fid", fid.distance(samples.features, baseline.features), "", "lower")
        )
    return metrics


def _quality(samples: Samples) -> list[Row]:
    metrics = []
    if samples.clip:
        metrics.append(metric("images_scored", len(samples.clip), "", None))
    for name, values, unit, better in (
        ("clip_score", samples.clip, "", "higher"),
        ("psnr", samples.psnr, "dB", "higher"),
        ("ssim", samples.ssim, "", "higher"),
        ("lpips", samples.lpips, "", "lower"),
    ):
        if values:
            estimate = statistics.mean(values)
            metrics.append(
                metric(name, estimate.value, unit, better, low=estimate.low, high=estimate.high)
            )
    return metrics


def absent(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return which figures of quality these settings leave out, and why."""
    if settings["clip"] is None:
        named = ("clip_score", "quality_loss", "psnr", "ssim", "lpips", "fid", "image_reward")
        return dict.fromkeys(named, "with random weights the images mean nothing")
    reasons = {
        "image_reward": "its weights are published only as a pickle file, which is not loaded here"
    }
    for name in ("lpips", "fid"):
        if settings[name] is None:
            reasons[name] = f"search.{name} names no weights"
    if "fid" not in reasons and settings["num_samples"] < fid.FEWEST_IMAGES:
        found = f"needs at least {fid.FEWEST_IMAGES:,} images, found {settings['num_samples']:,}"
        reasons["fid"] = found
    return reasons


def images_of(row: Row) -> int:
    """Return how many images a row's measurement made."""
    return int(value_of(row, "images") or 0)


def in_words(row: Mapping[str, Any]) -> str:
    """Return one line for the log."""
    if row["status"] != "measured":
        return f"{row['label']}: {row['status']}; the next configuration follows"
    words = [f"{value_of(row, 'seconds_per_image'):.3f} s/image"]
    for name, form in (
        ("speedup", "{:.2f}x"),
        ("clip_score", "CLIP {:.2f}"),
        ("quality_loss", "loss {:+.2%}"),
        ("psnr", "PSNR {:.1f} dB"),
    ):
        value = value_of(row, name)
        if value is not None:
            words.append(form.format(value))
    return f"{row['label']}: {', '.join(words)}"
