"""Several things at the same time, in their order."""

import contextlib
import threading
import time

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


class Calls:
    """Stands for a session: it counts how many calls run at a moment."""

    def __init__(self, fails_at=None):
        self.now, self.most, self.begun = 0, 0, 0
        self.fails_at, self.changing = fails_at, threading.Lock()

    def run(self, _, arrays):
        with self.changing:
            self.now, self.begun = self.now + 1, self.begun + 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self.changing:
            self.now -= 1
        if arrays["number"] == self.fails_at:
            raise MemoryError
        return [arrays["number"]]


def run_twenty(calls):
    return [number for (number,) in session.run_all((calls, {"number": n}) for n in range(20))]


def test_images_that_are_restored_at_the_same_time_share_the_cores(monkeypatch):
    monkeypatch.setattr(session, "usable_cores", lambda: 4)
    for others, most in ((0, 4), (1, 2), (3, 1), (9, 1)):
        calls = Calls()
        with contextlib.ExitStack() as stack:
            for _ in range(others + 1):
                stack.enter_context(session.sharing_the_cores())
            assert run_twenty(calls) == list(range(20))
        assert calls.most <= most
        assert (calls.most > 1) == (most > 1)


def test_an_image_gets_the_cores_of_one_that_is_done(monkeypatch):
    monkeypatch.setattr(session, "usable_cores", lambda: 2)
    calls = Calls()
    with session.sharing_the_cores(), contextlib.ExitStack() as other:
        other.enter_context(session.sharing_the_cores())
        inputs = ((calls, {"number": n}) for n in range(20))
        for (number,) in session.run_all(inputs):
            assert number > 5 or calls.most == 1
            if number == 5:
                other.close()
    assert calls.most == 2


def test_the_error_of_a_call_is_raised_and_no_further_one_begins(monkeypatch):
    monkeypatch.setattr(session, "usable_cores", lambda: 2)
    calls, threads = Calls(fails_at=3), threading.active_count()
    with pytest.raises(MemoryError):
        run_twenty(calls)
    assert calls.begun < 10
    assert threading.active_count() == threads
