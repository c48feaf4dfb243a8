"""Which segments to write anew as one, so that there are few and little of them is dead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


def groups(passages: Sequence[int], live: Sequence[int], everything: bool) -> list[range]:
    """Runs of neighbouring segments, each to be replaced by one segment of its live passages.

    passages, live: of each segment, oldest first; a live count is at least 1.
    everything: all segments become one. Else the newest are merged, from the oldest on that has
        less than twice the live passages of all that are newer, so that n passages are in about
        log2(n) segments, however many commits made them, and each is rewritten about log2(n)
        times; and so is a segment alone of which more than half is dead.
    """
    count = len(passages)
    if everything:
        whole = count == 0 or (count == 1 and passages[0] == live[0])
        return [] if whole else [range(count)]
    newer = list(accumulate(reversed(live), initial=0))[:count][::-1]
    first = next((n for n in range(count) if live[n] < 2 * newer[n]), count)
    merged = [range(first, count)] if count - first > 1 else []
    alone = range(first if merged else count)
    return [range(n, n + 1) for n in alone if 2 * live[n] < passages[n]] + merged
