from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from latentwire.runtime.serve import names
from latentwire.runtime.serve.names import Seen

NUMBERS = st.lists(st.one_of(st.integers(0, 60), st.integers(0, (1 << 63) - 1)), max_size=80)


@given(NUMBERS)
def test_it_is_a_set(numbers):
    seen, plain = Seen(), set()
    for number in numbers:
        assert seen.add(number) == (number not in plain)
        plain.add(number)
    assert all((number in seen) == (number in plain) for number in {*numbers, *range(62)})
    runs = list(seen)
    assert sum(last - first + 1 for first, last in runs) == len(plain)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(runs))
    assert list(Seen(seen.to_bytes())) == runs


@given(NUMBERS)
def test_beyond_its_bound_it_forgets_the_lowest_and_never_knows_too_much(numbers):
    bound, names.MAX_RUNS = names.MAX_RUNS, 4
    try:
        seen = Seen()
        for number in numbers:
            seen.add(number)
            assert len(list(seen)) <= 4
        assert all(first in numbers and last in numbers for first, last in seen)
        if numbers:
            assert max(numbers) in seen
    finally:
        names.MAX_RUNS = bound


@settings(max_examples=5)
@given(st.permutations(range(300)))
def test_what_comes_in_any_order_ends_as_one_run(order):
    seen = Seen()
    for number in order:
        seen.add(number)
    assert list(seen) == [(0, 299)] and len(seen.to_bytes()) == 16
