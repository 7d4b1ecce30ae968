"""Rows of a measured task, made up, for what is concluded from them."""

from worker.results.row import MEASURED, Figures, Measurement, metric


def row(
    label,
    speed=None,
    loss=None,
    role="candidate",
    spread_of=0.0,
    images=32,
    batches=10,
    pattern=(1, -1),
    **configuration,
):
    """Return a row whose loss lies ``spread_of`` to both sides, apart from prompt to prompt."""
    metrics = [metric("clip_score", 30.0, "", "higher"), metric("images", 8, "", None)]
    metrics.append(metric("images_scored", images, "", None))
    samples = {"seconds": [1.0] * batches, "clip_score": [30.0] * images}
    if speed is not None:
        metrics.append(metric("speedup", speed, "×", "higher", low=speed * 0.99, high=speed * 1.01))
        low, high = loss - spread_of, loss + spread_of
        metrics.append(metric("quality_loss", loss, "", "lower", low=low, high=high))
        apart = spread_of * images**0.5 / 1.96
        losses = [loss + apart * pattern[n % len(pattern)] for n in range(images)]
        samples |= {f"baseline_{name}": values for name, values in samples.items()}
        samples["seconds"] = [1 / speed] * batches
        samples["clip_score"] = [30 * (1 - lost) for lost in losses]
    return measured(label, role, configuration, metrics, samples)


def measured(label, role, configuration, metrics, samples):
    """Return the row of a configuration without accelerators: its keys, metrics and figures."""
    return Measurement(
        label=label,
        role=role,
        configuration={"accelerators": {}} | configuration,
        status=MEASURED,
        metrics=metrics,
        samples=Figures(**samples),
    )


def unsure_of_speed(label, speed, low, high):
    """Return a row that surely loses nothing, and whose speed-up has this interval."""
    sure = row(label, speed, 0.0)
    gain = metric("speedup", speed, "×", "higher", low=low, high=high)
    others = [item for item in sure.metrics if item.name != "speedup"]
    return sure.model_copy(update={"metrics": [*others, gain]})


BASELINE = row("baseline", role="baseline")
HALF = row("25 steps", 2.0, 0.02, "control", steps=25)
THIRD = row("15 steps", 3.0, 0.06, "control", steps=15)
NULL = row("other seeds", 1.1, -0.05, "control", seeds=1)


def labels(rows):
    return [item.label for item in rows]
