"""Threads give results in order, stay within their window, and fail where the work fails."""

import threading

import pytest

from uniwhisper.data.parallel import AHEAD, in_threads


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_work_is_never_further_ahead_than_the_window(workers):
    """The items are counted as they are handed out, which comes before their work begins."""
    handed_out = 0

    def items():
        nonlocal handed_out
        for item in range(50):
            handed_out += 1
            yield item

    results = in_threads(lambda item: item * item, items(), workers)
    assert handed_out == 0
    for taken, result in enumerate(results, start=1):
        assert result == (taken - 1) ** 2
        assert handed_out < taken + AHEAD * workers
    assert handed_out == taken == 50


def test_order_is_kept_whoever_is_first():
    """The first item ends only after the second has."""
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_done.wait(timeout=60)
        elif item == 1:
            second_done.set()
        return item

    assert list(in_threads(work, range(9), 2)) == list(range(9))


def test_an_error_comes_in_the_place_of_its_item_and_ends_the_work():
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item in (3, 4):
            raise ValueError(f"item {item}")
        return item

    taken = []
    with pytest.raises(ValueError, match="item 3"):
        for result in in_threads(work, range(1000), 2):
            taken.append(result)
    assert taken == [0, 1, 2]
    assert max(begun) <= 3 + AHEAD * 2


def test_no_items_and_fewer_items_than_the_window():
    assert list(in_threads(str, [], 3)) == []
    assert list(in_threads(str, [1, 2], 3)) == ["1", "2"]
