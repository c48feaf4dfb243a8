"""Choose segments to merge, so that there are few of them and few of their passages are dead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def segments_to_merge(
    passages: Sequence[int], live: Sequence[int], everything: bool
) -> list[range]:
    """Return runs of neighbouring segments, each to be merged into one with its live passages.

    If some segment has less than twice the live passages of all newer ones together, the oldest
    such segment and all newer ones are merged. So n passages are in about log2(n) segments,
    however many commits added them, and each passage is rewritten about log2(n) times. A segment
    of which more than half is dead is rewritten alone.

    Args:
        passages: Passages per segment, oldest segment first.
        live: Live passages per segment, each at least 1.
        everything: Merge all segments into one instead.
    """
    count = len(passages)
    if everything:
        compact = count == 0 or (count == 1 and passages[0] == live[0])
        return [] if compact else [range(count)]
    newer = list(accumulate(reversed(live), initial=0))[:count][::-1]
    first = next((n for n in range(count) if live[n] < 2 * newer[n]), count)
    merged = [range(first, count)] if count - first > 1 else []
    alone = range(first if merged else count)
    return [range(n, n + 1) for n in alone if 2 * live[n] < passages[n]] + merged
