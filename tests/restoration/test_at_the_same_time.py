"""Several things at the same time, in their order."""

import threading

import pytest

from locreg.at_the_same_time import each_in_order, one_ahead
from locreg.engine import session
from locreg.errors import LocregError


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_and_errors_come_in_their_order(workers):
    def halved(number):
        if number % 3 == 0:
            raise LocregError(f"{number} is refused")
        return number / 2

    found = []
    for outcome in each_in_order(halved, range(8), workers):
        try:
            found.append(outcome())
        except LocregError as error:
            found.append(str(error))
    assert found == ["0 is refused", 0.5, 1, "3 is refused", 2, 2.5, "6 is refused", 3.5]


def test_two_run_at_the_same_time_and_nothing_begins_after_an_early_end():
    both, begun = threading.Barrier(2, timeout=20), []

    def meet(number):
        begun.append(number)
        if number < 2:
            both.wait()  # it would time out if the other one waited for this one to end
        return number

    outcomes = each_in_order(meet, range(50), 2)
    assert next(outcomes)() == 0
    outcomes.close()
    assert len(begun) < 6


def test_the_next_is_done_while_the_caller_works_and_no_other():
    done = threading.Semaphore(0)
    begun = []

    def do(number):
        begun.append(number)
        done.release()
        if number == 3:
            raise LocregError("3 is refused")
        return number

    results = one_ahead(do, range(9))
    assert next(results) == 0
    for _ in range(2):  # 0 and 1, the latter without being asked for
        assert done.acquire(timeout=20)
    assert begun == [0, 1]
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(LocregError, match="3 is refused"):
        next(results)
    assert set(begun) <= {0, 1, 2, 3, 4}
    assert list(one_ahead(do, range(0))) == []


def test_images_that_are_restored_at_the_same_time_share_the_cores(monkeypatch):
    monkeypatch.setattr(session, "usable_cores", lambda: 5)
    assert session.cores_for_each() == 5
    with session.sharing_the_cores():
        assert session.cores_for_each() == 5
        with session.sharing_the_cores():
            assert session.cores_for_each() == 3
            with session.sharing_the_cores():
                assert session.cores_for_each() == 2
            with pytest.raises(ValueError, match="it fails"), session.sharing_the_cores():
                raise ValueError("it fails")
            assert session.cores_for_each() == 3
    assert session.cores_for_each() == 5
