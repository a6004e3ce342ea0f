# SPDX-License-Identifier: MIT
"""Pure functions over samples: percentiles, ratios, times until steady."""

import math
import statistics


def percentile(values, percent):
    """The smallest value that percent of all do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return ordered[rank - 1]


def summary(values):
    """Count, p50, p99, max and mean; None of no values."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    return {"count": len(values), "p50": percentile(values, 50),
            "p99": percentile(values, 99), "max": max(values),
            "mean": statistics.fmean(values)}


def pair_ratios(ours, theirs):
    """Our value over theirs, for each pair of which both were measured."""
    return [a / b for a, b in zip(ours, theirs) if a is not None and b]


def growth(first, last):
    """By how much last is above first, as a share of first."""
    return last / first - 1.0


def spread(values):
    """How far the extremes are apart, as a share of the lowest."""
    return max(values) / min(values) - 1.0


def per_step(points, above):
    """Slope of a line through the points (x, y) with x >= above.

    Least squares; what one further unit of x costs.
    """
    used = [(x, y) for x, y in points if x >= above]
    if len(used) < 2:
        return None
    mean_x = statistics.fmean(x for x, _ in used)
    mean_y = statistics.fmean(y for _, y in used)
    return (sum((x - mean_x) * (y - mean_y) for x, y in used) /
            sum((x - mean_x) ** 2 for x, _ in used))


def until_steady(curve, steady, share=0.95, window=15):
    """Time until a guest works at a share of its steady speed.

    curve has the time each of many equal stretches of work took, steady the
    time of a stretch in steady state. The median of a window decides, as the
    host interrupts single stretches; steady speed is reached in the middle of
    the first window that has it. 0 if it never was slower.
    """
    limit = steady / share
    for i in range(max(len(curve) - window, 0) + 1):
        if statistics.median(curve[i:i + window]) <= limit:
            return sum(curve[:i + window // 2]) if i else 0
    return sum(curve)


def size_bytes(text):
    """256M, 1G, 1T and the like in bytes."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    return int(text[:-1]) << units[text[-1]]
