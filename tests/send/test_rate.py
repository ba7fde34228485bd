import time
from email.utils import formatdate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.runtime.errors import SettingError
from latentwire.runtime.send.batches import Batcher, Item
from latentwire.runtime.send.http import retry_after
from latentwire.runtime.send.rate import FALLS_FROM, LOWEST_AT, SLACK, Backoff, QualityControl, TokenBucket

FILLS = st.floats(0, 1)
VALUE = np.zeros(1)


@given(st.integers(0, 255), st.integers(0, 255), st.lists(FILLS, max_size=40))
def test_quality_stays_within_its_bounds_and_moves_against_the_fill(one, other, fills):
    lowest, highest = sorted((one, other))
    control = QualityControl(highest, lowest)
    assert control.quality == highest
    before, fill_before = highest, 0.0
    for fill in fills:
        quality = control.update(fill)
        assert lowest <= quality <= highest
        assert quality <= before if fill >= fill_before else quality >= before
        if fill >= LOWEST_AT:
            assert quality == lowest
        if fill <= FALLS_FROM - SLACK:
            assert quality == highest
        before, fill_before = quality, fill


@given(FILLS, st.lists(st.floats(0, SLACK), max_size=20))
def test_a_spool_that_breathes_does_not_make_quality_flicker(fill, drops):
    control = QualityControl(255)
    quality = control.update(fill)
    assert all(control.update(fill - drop) == quality for drop in drops if drop < SLACK * 0.999)


@given(st.floats(1, 1e6), st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 3)), min_size=1, max_size=60))
def test_a_bucket_never_lets_more_through_than_its_rate_and_one_burst_and_packet(rate, packets):
    bucket, now, sent = TokenBucket(rate), 0.0, 0
    for size, pause in packets:
        now += pause
        now += bucket.delay(now)
        assert bucket.delay(now) < 1e-6
        bucket.spend(size)
        sent += size
        assert sent <= rate * now + rate + size + 1e-3


def test_backoff_doubles_up_to_its_bound_with_full_jitter():
    backoff = Backoff(1, 60, draw=lambda: 0.5)
    assert [backoff.failed() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.failed(at_least=100) == 130
    backoff.succeeded()
    assert backoff.failed() == 0.5
    assert backoff.failed(needs_hand=True) == 45
    for _ in range(2000):
        backoff.failed()
    assert backoff.failed() == 30
    waits = [Backoff(1, 60).failed() for _ in range(200)]
    assert min(waits) < 0.1 and max(waits) > 0.9


@pytest.mark.parametrize(("first", "longest"), [(0, 1), (2, 1), (-1, 1)])
def test_waits_that_make_no_sense_are_refused(first, longest):
    with pytest.raises(SettingError):
        Backoff(first, longest)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("7", 7),
        ("-7", 0),
        ("soon", 0),
        ("999999999", 3600),
        (formatdate(1_000_030, usegmt=True), 30),
        (formatdate(999_970, usegmt=True), 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after(value, 1_000_000) == seconds
    assert time.time() > 1_000_030


@given(st.integers(1, 9), st.lists(st.integers(1, 20), max_size=20))
def test_batches_hold_all_items_in_order(count, groups):
    batcher, number, found = Batcher(count), 0, []
    for group in groups:
        items = [Item(VALUE, number + place) for place in range(group)]
        number += group
        found += batcher.add(items, 0.0)
        assert batcher.count < count
    assert all(len(batch) == count for batch in found)
    assert [item.time for batch in [*found, batcher.rest()] for item in batch] == list(range(number))


def test_a_batch_goes_when_its_first_item_has_waited_long_enough():
    batcher = Batcher(10, 5.0)
    assert batcher.deadline is None and batcher.due(100.0) == ()
    batcher.add([Item(VALUE, 1)], 10.0)
    batcher.add([Item(VALUE, 2)], 14.0)
    assert batcher.deadline == 15.0 and batcher.due(14.9) == ()
    assert len(batcher.due(15.0)) == 2 and batcher.deadline is None
