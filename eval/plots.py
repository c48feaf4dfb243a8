"""Bar and scatter plots as SVG text, for pages that load nothing."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COLOURS = ("#2f6f9f", "#c8553d", "#588157", "#8e6c8a", "#b08900", "#3d8b8b", "#7a4e2d", "#5c5c5c")
PALE = ("#c9d6df", "#e6d3cd", "#d3ddd0", "#ddd3dc", "#e5dcc0", "#cfdfdf", "#dcd2c8", "#d0d0d0")


@dataclass(frozen=True)
class Point:
    """A point of a scatter plot.

    Args:
        x: A cost; must be positive.
        y: A score between 0 and 1.
        label: Text shown when the pointer is over the point.
        series: Name of the group of points that share a colour.
    """

    x: float
    y: float
    label: str
    series: str


def bars(groups: Mapping[str, Mapping[str, float]], published: Sequence[str] = ()) -> str:
    """Draw grouped vertical bars.

    Args:
        groups: Values between 0 and 1 by group (a data set) and system.
        published: Systems that were not measured here; their bars are pale.

    Returns:
        An SVG element.
    """
    systems = list(dict.fromkeys(name for values in groups.values() for name in values))
    colours = _colours([name for name in systems if name not in published])
    colours |= _colours([name for name in systems if name in published], PALE)
    wide, gap, high, left = 14, 22, 220, 40
    x = float(left)
    parts = []
    for group, values in groups.items():
        start = x
        for name in systems:
            if name not in values:
                continue
            tall = high * max(0.0, min(1.0, values[name]))
            title = html.escape(f"{name}, {group}: {100 * values[name]:.1f}")
            fill = colours[name]
            parts.append(
                f'<rect x="{x:.1f}" y="{high + 10 - tall:.1f}" width="{wide - 2}" '
                f'height="{tall:.1f}" fill="{fill}"><title>{title}</title></rect>'
            )
            x += wide
        parts.append(
            f'<text x="{(start + x) / 2:.1f}" y="{high + 26}" text-anchor="middle">'
            f"{html.escape(group)}</text>"
        )
        x = max(x, start + 7 * len(group)) + gap
    width, height = max(x, 320.0), high + 44 + 16 * len(systems)
    legend = [
        f'<rect x="{left}" y="{high + 40 + 16 * i}" width="10" height="10" '
        f'fill="{colours[name]}"/><text x="{left + 16}" y="{high + 49 + 16 * i}">'
        f"{html.escape(name)}</text>"
        for i, name in enumerate(systems)
    ]
    grid = [
        f'<line x1="{left}" x2="{width:.0f}" y1="{10 + high * (1 - level):.1f}" '
        f'y2="{10 + high * (1 - level):.1f}" stroke="#e4e4e4"/>'
        f'<text x="{left - 6}" y="{14 + high * (1 - level):.1f}" text-anchor="end">'
        f"{100 * level:.0f}</text>"
        for level in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return _svg(width, height, [*grid, *parts, *legend])


def scatter(points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Plot quality against a cost on a logarithmic axis.

    Args:
        points: At least one point.
        x_label: Text of the horizontal axis.
        y_label: Text of the vertical axis, which is in percent.

    Returns:
        An SVG element.
    """
    left, top, wide, high = 60, 12, 520, 260
    colours = _colours(list(dict.fromkeys(point.series for point in points)))
    low = math.floor(math.log10(min(point.x for point in points)))
    top_power = max(low + 1, math.ceil(math.log10(max(point.x for point in points))))
    highest = max(0.05, math.ceil(20 * max(point.y for point in points)) / 20)

    def at(point: Point) -> tuple[float, float]:
        fraction = (math.log10(point.x) - low) / (top_power - low)
        return left + wide * fraction, top + high * (1 - point.y / highest)

    parts = []
    for power in range(low, top_power + 1):
        x = left + wide * (power - low) / (top_power - low)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{top + high}" stroke="#e4e4e4"/>'
            f'<text x="{x:.1f}" y="{top + high + 16}" text-anchor="middle">{10.0**power:g}</text>'
        )
    for quarter in range(5):
        y = top + high * (1 - quarter / 4)
        parts.append(
            f'<line x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{100 * highest * quarter / 4:.0f}</text>"
        )
    for point in points:
        x, y = at(point)
        title = html.escape(f"{point.label}: {100 * point.y:.1f} at {point.x:,.4g}")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colours[point.series]}">'
            f"<title>{title}</title></circle>"
        )
    for i, (name, colour) in enumerate(colours.items()):
        y = top + high + 58 + 16 * i
        parts.append(
            f'<circle cx="{left + 5}" cy="{y - 4}" r="5" fill="{colour}"/>'
            f'<text x="{left + 16}" y="{y}">{html.escape(name)}</text>'
        )
    middle = left + wide / 2
    parts.append(
        f'<text x="{middle}" y="{top + high + 34}" text-anchor="middle">{html.escape(x_label)}'
        f'</text><text transform="translate(14 {top + high / 2}) rotate(-90)" '
        f'text-anchor="middle">{html.escape(y_label)}</text>'
    )
    return _svg(left + wide + 20, top + high + 62 + 16 * len(colours), parts)


def _colours(names: Sequence[str], palette: Sequence[str] = COLOURS) -> dict[str, str]:
    return {name: palette[i % len(palette)] for i, name in enumerate(names)}


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="11">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )
