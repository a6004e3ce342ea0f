# SPDX-License-Identifier: MIT
"""What a program gets done in a second, beside what others do."""

import statistics


def compare(load, rates, unit, scale):
    """For JSON, from {subject: samples}; ratios are those of the first subject
    to the rest. In units of @scale; printed too."""
    median = {n: statistics.median(r) for n, r in rates.items()}
    first, *rest = median
    ratio = {n: median[first] / median[n] for n in rest}
    for n, samples in rates.items():
        print("  %-48s median %8.0f  least %8.0f %s%s" % (
            n + ", " + load, median[n] / scale, min(samples) / scale, unit,
            ", ratio of Baton's to it %.2f" % ratio[n] if n in ratio else ""))
    return {"load": load, "unit": unit, "scale": scale, "rates": rates,
            "median": median, "ratio": ratio}
