"""A report as a picture: every metric with its interval, the other model's beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jude.errors import TerminalEnvironmentError
from jude.evaluation.intervals import Interval
from jude.evaluation.measured import WHOLE
from jude.evaluation.report import Report, SetReport


def draw(report: Report, file: Path) -> Path:
    """Write a PNG (or what the file's ending says). Raises TerminalEnvironmentError without matplotlib."""
    figure, axes = _canvas(len(report.sets))
    for axis, one in zip(axes, report.sets, strict=True):
        _draw_set(axis, one, report)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    return file


def draw_curve(lines: list[dict[str, Any]], file: Path) -> Path:
    """Draw the loss and the gradient's norm of a run's log over its updates."""
    figure, axes = _canvas(2)
    logged = [line for line in lines if "loss" in line]
    for axis, key in zip(axes, ("loss", "gradient_norm"), strict=True):
        axis.plot([line["update"] for line in logged], [line[key] for line in logged])
        axis.set(xlabel="update", ylabel=key.replace("_", " "))
    figure.savefig(file, dpi=130)
    return file


def _canvas(columns: int) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ModuleNotFoundError as missing:
        raise TerminalEnvironmentError(
            f"The package {missing.name} is not installed, which draws. Install it: pip install 'jude[training]'."
        ) from missing
    matplotlib.use("Agg")  # no display is asked for
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(4.2 * columns, 4.2), squeeze=False, layout="constrained")
    return figure, axes[0]


def _draw_set(axis: Any, one: SetReport, report: Report) -> None:  # noqa: ANN401  matplotlib's own
    lines = [line for line in one.lines if line.slice == WHOLE]
    for row, line in enumerate(lines):
        if line.gain:
            _draw_interval(axis, line.gain.old, row + 0.15, "0.6", report.against if row == 0 else None)
        _draw_interval(axis, line.estimate, row - 0.15 * bool(line.gain), "C0", report.model if row == 0 else None)
    axis.set_yticks(range(len(lines)), [line.metric for line in lines])
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.set(title=f"{one.name}, {lines[0].count:,} queries or pairs", xlabel="with 95% interval")
    axis.grid(axis="x", alpha=0.3)


def _draw_interval(axis: Any, found: Interval, height: float, colour: str, label: str | None) -> None:  # noqa: ANN401 - matplotlib's
    # A resampled ECE is larger than the whole set's: its interval may not hold the estimate.
    spread = [[max(0.0, found.mean - found.low)], [max(0.0, found.high - found.mean)]]
    axis.errorbar([found.mean], [height], xerr=spread, fmt="o", capsize=3, color=colour, label=label)
