"""TaskGroup and CancelScope: the invariants of ``coop_plugins.scope``, tables of how scopes nest, and what comes out of groups. Time is virtual."""

from __future__ import annotations

import gc
import inspect
import itertools
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from seams.clock import JumpingClock

from coop_plugins.scope import Cancelled, CancelScope, TaskGroup, current_time, fail_after, move_on_after
from coopcore import Deadlock, LeftBehindWarning, Task, TaskExit, Timeout, current_task, run, sleep, spawn
from coopcore.errors import ParkInHubError, WrongThreadError
from coopcore.lowlevel import ParkingLot, current_hub, make_hub, park, scope_of, throw_in, yield_now

AGES = 1000.0  # virtual seconds that only a cancellation cuts short


def in_a_hub(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test as the main task of a hub with a virtual clock. In the end nothing may be left of it."""

    def main(*args: Any, **kwargs: Any) -> None:
        test(*args, **kwargs)
        me = current_task()
        assert me._pending is None
        assert scope_of(me) is None
        assert len(me.hub.timers) == 0
        sleep(0)

    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(lambda: main(*args, **kwargs), clock=JumpingClock())

    wrapper.__name__ = test.__name__
    wrapper.__doc__ = test.__doc__
    wrapper.__wrapped__ = test  # type: ignore[attr-defined]  # where pytest looks for the arguments
    return wrapper


def elapsed(since: float) -> float:
    return round(current_time() - since, 6)


def fail(error: BaseException, after: float | None = None) -> None:
    if after is not None:
        sleep(after)
    raise error


WAITS: list[Callable[[], object]] = [lambda: sleep(0), lambda: sleep(AGES), lambda: park("x"), lambda: park("x", AGES), yield_now, lambda: ParkingLot().park()]


# -- invariant 1: level-triggered ---------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_1_every_wait_raises_until_the_scope_is_left() -> None:
    seen = []
    with CancelScope() as scope:
        scope.cancel()
        for wait in WAITS * 2:
            try:
                wait()
            except Cancelled as error:
                seen.append(error)
        sleep(0)
    assert len({id(error) for error in seen}) == len(WAITS) * 2
    assert {error.scope for error in seen} == {scope}
    assert scope.cancelled_caught and scope.cancel_called
    sleep(0.001)
    park("x", 0.001)


@in_a_hub
def test_invariant_1_nothing_is_raised_where_nothing_waits() -> None:
    with CancelScope() as scope:
        scope.cancel()
        done = True
    assert done and scope.cancel_called and not scope.cancelled_caught


@in_a_hub
def test_invariant_1_a_wait_that_was_under_way_is_cut_short() -> None:
    start = current_time()
    with CancelScope() as scope:
        spawn(lambda: (sleep(0.5), scope.cancel()))
        sleep(AGES)
    assert elapsed(start) == 0.5
    assert scope.cancelled_caught


@in_a_hub
def test_invariant_1_a_scope_that_was_cancelled_before_it_is_entered() -> None:
    scope = CancelScope()
    scope.cancel()
    scope.cancel()
    with scope:
        sleep(AGES)
    assert scope.cancelled_caught
    assert current_time() == 0


@in_a_hub
def test_invariant_1_clean_up_that_waits_needs_a_shield() -> None:
    steps: list[str] = []

    def work(shield: bool) -> None:
        with move_on_after(1):
            try:
                sleep(AGES)
            finally:
                steps.append("begun")
                with CancelScope(shield=shield):
                    sleep(1)
                steps.append("done")

    work(shield=False)
    assert steps == ["begun"]
    work(shield=True)
    assert steps == ["begun", "begun", "done"]


@in_a_hub
def test_invariant_1_tracebacks_and_memory_do_not_grow() -> None:
    depths, contexts = set(), set()
    with CancelScope() as scope:
        scope.cancel()
        for _ in range(50):
            try:
                sleep(0)
            except Cancelled as error:
                depths.add(len(traceback.extract_tb(error.__traceback__)))
                contexts.add(error.__context__)
        assert len(current_task()._pending or ()) == 1
    assert len(depths) == 1
    assert contexts == {None}


def test_invariant_1_a_cancellation_leaves_no_cycle() -> None:
    def main() -> None:
        refs = []

        def work() -> None:
            with CancelScope() as scope:
                refs.append(weakref.ref(scope))
                spawn(scope.cancel)
                try:
                    sleep(AGES)
                except Cancelled as error:
                    refs.append(weakref.ref(error))
                    raise
            with TaskGroup() as group:
                refs.append(weakref.ref(group))
                group.spawn(sleep, AGES)
                spawn(group.cancel_scope.cancel)

        def failing() -> None:
            try:
                with TaskGroup() as group:
                    group.spawn(fail, KeyError(1))
                    group.spawn(sleep, AGES)
            except* KeyError as errors:
                refs.append(weakref.ref(errors))

        work()
        failing()
        sleep(0)
        sleep(0)
        assert len(refs) == 4
        assert [ref() for ref in refs] == [None] * 4

    gc.collect()
    gc.disable()
    try:
        run(main, clock=JumpingClock())
    finally:
        gc.enable()


# -- invariant 2: who catches -------------------------------------------------------------------------------------------

# Which of three nested scopes, outermost first, are cancelled, in this order; which have a shield; and which one is to be named.
NESTINGS = [
    pytest.param(cancelled, shields, id=f"cancel-{''.join(map(str, cancelled))}-shield-{''.join(map(str, shields)) or 'none'}")
    for size in (1, 2, 3)
    for cancelled in itertools.permutations(range(3), size)
    for shields in ((), (0,), (1,), (2,), (1, 2))
]


def to_blame(cancelled: tuple[int, ...], shields: tuple[int, ...]) -> int | None:
    visible = range(max(shields, default=0), 3)
    return min((n for n in cancelled if n in visible), default=None)


@pytest.mark.parametrize(("cancelled", "shields"), NESTINGS)
@in_a_hub
def test_invariant_2_the_outermost_visible_scope_catches(cancelled: tuple[int, ...], shields: tuple[int, ...]) -> None:
    expected = to_blame(cancelled, shields)
    scopes = [CancelScope(shield=n in shields) for n in range(3)]
    named = None
    with scopes[0], scopes[1], scopes[2]:
        for n in cancelled:
            scopes[n].cancel()
        try:
            sleep(1)
        except Cancelled as error:
            named = error.scope
            raise
    assert named is (None if expected is None else scopes[expected])
    assert [scope.cancelled_caught for scope in scopes] == [n == expected for n in range(3)]
    assert [scope.cancel_called for scope in scopes] == [n in cancelled for n in range(3)]


@in_a_hub
def test_invariant_2_one_that_is_on_its_way_passes_on_when_an_outer_scope_was_cancelled_meanwhile() -> None:
    with CancelScope() as outer:
        with CancelScope() as inner:
            inner.cancel()
            try:
                sleep(0)
            finally:
                outer.cancel()
        pytest.fail("the inner scope must not catch it")
    assert outer.cancelled_caught and not inner.cancelled_caught


@in_a_hub
def test_invariant_2_a_shield_that_goes_up_or_down_in_an_open_scope() -> None:
    with CancelScope() as outer:
        with CancelScope() as inner:
            outer.cancel()
            with pytest.raises(Cancelled):
                sleep(0)
            inner.shield = True
            assert inner.shield
            sleep(0.001)
            spawn(setattr, inner, "shield", False)
            sleep(AGES)
        pytest.fail("not reached")
    assert outer.cancelled_caught
    assert current_time() == 0.001


@in_a_hub
def test_invariant_2_a_shield_hides_outer_cancellations_and_not_its_own() -> None:
    with CancelScope(shield=True) as scope:
        scope.cancel()
        sleep(AGES)
    assert scope.cancelled_caught


@in_a_hub
def test_invariant_2_a_foreign_cancelled_is_an_error_like_any_other() -> None:
    with CancelScope() as scope:
        scope.cancel()
        try:
            sleep(0)
        except Cancelled as error:
            foreign = error
    with CancelScope() as other:
        other.cancel()
        with pytest.raises(Cancelled) as caught, CancelScope() as scope:
            raise foreign
        assert caught.value is foreign
    with pytest.raises(BaseExceptionGroup) as group, TaskGroup():
        raise foreign
    assert group.value.exceptions == (foreign,)
    with pytest.raises(BaseExceptionGroup) as group, TaskGroup() as tasks:
        tasks.spawn(fail, foreign)
    assert group.value.exceptions == (foreign,)


def wait_and_raise_in_a_group(*beside: BaseException) -> None:
    """As ``except* Cancelled: raise`` does, and clean-up of several things that collects what goes wrong."""
    try:
        sleep(AGES)
    except Cancelled as cancelled:
        inner = BaseExceptionGroup("inner", [cancelled, *beside])
        raise BaseExceptionGroup("outer", [inner]) from None


@in_a_hub
def test_invariant_2_its_cancelled_is_caught_in_an_exception_group_as_well() -> None:
    with move_on_after(1) as scope:
        try:
            sleep(AGES)
        except* Cancelled:
            raise
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError, match="not done after 1 second"), fail_after(1):
        wait_and_raise_in_a_group()


@in_a_hub
def test_invariant_2_what_is_beside_it_in_the_group_comes_out_in_its_place() -> None:
    wrong = ValueError("on purpose")
    with pytest.raises(ExceptionGroup) as caught, move_on_after(1) as scope:
        wait_and_raise_in_a_group(wrong)
    assert scope.cancelled_caught
    assert caught.value.message == "outer" and caught.value.subgroup(ValueError) is not None
    [inner] = caught.value.exceptions
    assert isinstance(inner, ExceptionGroup) and inner.exceptions == (wrong,)
    assert caught.value.__context__ is not None and type(caught.value.__context__) is Cancelled, "as of the whole group, and not that"
    group = BaseExceptionGroup("of others", [KeyError(1), KeyboardInterrupt()])
    with pytest.raises(BaseExceptionGroup) as whole, CancelScope() as scope:
        scope.cancel()
        raise group
    assert whole.value is group and not scope.cancelled_caught


@in_a_hub
def test_invariant_2_in_a_group_it_passes_on_to_a_cancelled_scope_further_out() -> None:
    with CancelScope() as outer:
        try:
            with CancelScope() as inner:
                inner.cancel()
                try:
                    sleep(AGES)
                except Cancelled as cancelled:
                    outer.cancel()
                    raise BaseExceptionGroup("both", [cancelled, KeyError(1)]) from None
        except* KeyError:
            pass
    assert (inner.cancelled_caught, outer.cancelled_caught) == (False, True)


@pytest.mark.parametrize("where", ["body", "task"])
@pytest.mark.parametrize("whose", ["the group's", "one around it"])
@in_a_hub
def test_invariant_8_a_cancelled_in_an_exception_group_is_no_failure(where: str, whose: str) -> None:
    with CancelScope() as around:
        with TaskGroup() as group:
            (around if whose == "one around it" else group.cancel_scope).deadline = current_time() + 1
            if where == "task":
                group.spawn(wait_and_raise_in_a_group)
            else:
                wait_and_raise_in_a_group()
    assert (around.cancelled_caught, group.cancel_scope.cancelled_caught) == (whose == "one around it", whose != "one around it")
    wrong = ValueError("on purpose")
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.cancel_scope.deadline = current_time() + 1
        if where == "task":
            group.spawn(wait_and_raise_in_a_group, wrong)
        else:
            wait_and_raise_in_a_group(wrong)
    assert group.cancel_scope.cancelled_caught
    [failure] = caught.value.exceptions
    assert str(failure) == "outer (1 sub-exception)" and caught.value.subgroup(lambda leaf: leaf is wrong) is not None
    assert hasattr(failure, "__notes__") is (where == "task")


# -- invariant 3: deadlines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer_comes", [1, 2, 3])
@pytest.mark.parametrize("inner_comes", [1, 2, 3])
@pytest.mark.parametrize("shield", [False, True])
@in_a_hub
def test_invariant_3_nested_deadlines(outer_comes: int, inner_comes: int, shield: bool) -> None:
    """Whichever comes first ends the wait; when both come at once, the outer one beats the inner one."""
    start = current_time()
    after_inner = False
    with move_on_after(outer_comes) as outer:
        with move_on_after(inner_comes, shield=shield) as inner:
            sleep(10)
        after_inner = True
        assert elapsed(start) == inner_comes
        sleep(10)
    inner_first = shield or inner_comes < outer_comes
    assert after_inner == inner_first
    assert inner.cancelled_caught == inner_first
    assert outer.cancelled_caught
    assert elapsed(start) == (max(inner_comes, outer_comes) if shield else outer_comes)


@in_a_hub
def test_invariant_3_a_deadline_is_a_moment_and_a_timeout_counts_from_the_entry() -> None:
    sleep(1)
    scope = CancelScope(timeout=2)
    assert scope.deadline == float("inf")
    sleep(1)
    with scope:
        assert scope.deadline == 4.0
        assert not scope.cancel_called
        sleep(AGES)
    assert current_time() == 4.0
    with CancelScope(deadline=4.5) as scope:
        assert scope.deadline == 4.5
        sleep(AGES)
    assert current_time() == 4.5


@in_a_hub
def test_invariant_3_a_deadline_may_be_moved_while_the_scope_is_open() -> None:
    start = current_time()
    with move_on_after(1) as scope:
        scope.deadline += 2
        sleep(2)
        scope.deadline = start + 2.5
        sleep(AGES)
    assert elapsed(start) == 2.5
    with move_on_after(1) as scope:
        scope.deadline = float("inf")
        sleep(2)
        scope.deadline = current_time() - 1
        assert scope.cancel_called
        sleep(AGES)
    assert scope.cancelled_caught
    assert elapsed(start) == 4.5
    scope = move_on_after(1)
    scope.deadline = current_time() + 3
    with scope:
        scope.deadline = None  # type: ignore[assignment]  # as inf, in the setter
        sleep(5)
        scope.deadline = current_time() + 1
        sleep(AGES)
    assert elapsed(start) == 10.5


@in_a_hub
def test_invariant_3_to_move_the_deadline_of_a_cancelled_scope_changes_nothing() -> None:
    with CancelScope() as scope:
        scope.cancel()
        scope.deadline = current_time() + 1
        with pytest.raises(Cancelled):
            sleep(2)
    assert scope.cancel_called


@pytest.mark.parametrize("past", [{"timeout": 0}, {"timeout": 0.0}, {"deadline": 1.0}, {"deadline": float("-inf")}])
@in_a_hub
def test_invariant_3_a_deadline_that_is_past_cancels_at_once(past: dict[str, float]) -> None:
    sleep(1)
    with CancelScope(**past) as scope:  # type: ignore[arg-type]  # the table's
        sleep(AGES)
    assert scope.cancelled_caught
    assert current_time() == 1.0


@pytest.mark.parametrize("never", [None, float("inf"), 1e300])
@in_a_hub
def test_invariant_3_no_limit(never: float | None) -> None:
    with move_on_after(never) as scope, fail_after(never), CancelScope(deadline=never):
        sleep(AGES)
    assert not scope.cancel_called


@in_a_hub
def test_invariant_3_never_after_the_scope_was_left() -> None:
    with move_on_after(1) as scope:
        pass
    sleep(2)
    assert not scope.cancel_called
    scope.cancel()
    assert not scope.cancel_called


def test_invariant_3_cancel_called_looks_at_the_clock() -> None:
    """Code that never waits can ask, though no timer can have fired."""

    def main() -> None:
        clock: Any = current_hub().clock
        with move_on_after(1) as scope:
            assert not scope.cancel_called
            clock._now += 2_000_000_000
            assert scope.cancel_called
        assert not scope.cancelled_caught

    run(main, clock=JumpingClock())


def test_invariant_3_the_deadline_of_a_parked_task_is_no_deadlock() -> None:
    def main() -> None:
        with move_on_after(0.001) as scope:
            park("nothing that comes")
        assert scope.cancelled_caught

    run(main)


@in_a_hub
def test_fail_after_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError, match="not done after 2 seconds") as caught, fail_after(2) as scope:
        sleep(AGES)
    assert type(caught.value) is TimeoutError
    assert isinstance(caught.value.__cause__, Cancelled)
    assert scope.cancelled_caught
    with fail_after(2):
        sleep(1)
    with fail_after(2) as scope:
        scope.cancel()
        sleep(AGES)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError, match="after the deadline"), fail_after(None) as scope:
        scope.deadline = current_time() + 1
        sleep(AGES)


@in_a_hub
def test_fail_after_lets_an_outer_deadline_pass() -> None:
    with move_on_after(1) as outer:
        with fail_after(1):
            sleep(AGES)
        pytest.fail("not reached")
    assert outer.cancelled_caught


# -- invariant 4: who enters and leaves ---------------------------------------------------------------------------------


@in_a_hub
def test_invariant_4_a_scope_is_left_by_its_own_task() -> None:
    scope, group = CancelScope(), TaskGroup()

    def meddle() -> None:
        for thing in (scope, group):
            with pytest.raises(RuntimeError, match="belongs to one task"):
                thing.__exit__(None, None, None)

    with scope, group:
        spawn(meddle).get()
        assert repr(scope) == f"<CancelScope open, of {current_task().name}>"
        scope.cancel()
        with pytest.raises(Cancelled):
            sleep(0)


@in_a_hub
def test_invariant_4_scopes_are_left_in_the_reverse_order() -> None:
    outermost, outer, inner = CancelScope(), CancelScope(timeout=5), CancelScope()
    with outermost:
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="was left before <CancelScope open"):
            outer.__exit__(None, None, None)
        outer.cancel()  # it is gone
        sleep(10)
        outermost.cancel()
        with pytest.raises(Cancelled) as caught:
            sleep(0)
        assert caught.value.scope is outermost
        inner.__exit__(None, None, None)
    assert not outermost.cancelled_caught


@in_a_hub
def test_invariant_4_a_cancelled_scope_that_is_left_too_early_leaves_nothing_behind() -> None:
    outer, inner = CancelScope(), CancelScope()
    outer.__enter__()
    inner.__enter__()
    outer.cancel()
    with pytest.raises(RuntimeError, match="reverse order"):
        outer.__exit__(None, None, None)
    sleep(0.001)
    inner.__exit__(None, None, None)


@in_a_hub
def test_invariant_4_a_group_that_is_left_before_a_scope_inside_it_still_waits_for_its_tasks() -> None:
    group, inner = TaskGroup(), CancelScope()
    group.__enter__()
    task = group.spawn(sleep, 1)
    inner.__enter__()
    with pytest.raises(ExceptionGroup) as caught:
        group.__exit__(None, None, None)
    assert task.dead
    assert "reverse order" in str(caught.value.exceptions[0])
    inner.__exit__(None, None, None)


@in_a_hub
def test_invariant_4_a_scope_is_entered_once() -> None:
    scope, group = CancelScope(), TaskGroup()
    for thing in (scope, group):
        with thing:  # type: ignore[attr-defined]  # both are
            with pytest.raises(RuntimeError, match="was entered before"):
                thing.__enter__()  # type: ignore[attr-defined]  # both have
        with pytest.raises(RuntimeError, match="was entered before"):
            thing.__enter__()  # type: ignore[attr-defined]  # both have
        with pytest.raises(RuntimeError, match="not open"):
            thing.__exit__(None, None, None)  # type: ignore[attr-defined]  # both have
    with pytest.raises(RuntimeError, match="deadline .* left already"):
        scope.deadline = 3
    with pytest.raises(RuntimeError, match="shield .* left already"):
        scope.shield = True


@in_a_hub
def test_invariant_4_a_generator_that_a_task_leaves_standing_harms_nobody() -> None:
    kept = []

    def generator() -> Iterator[int]:
        with CancelScope(timeout=5), TaskGroup() as group:
            kept.append(group.spawn(sleep, 50))
            yield 1

    def careless() -> None:
        left_standing = generator()
        next(left_standing)
        kept.append(left_standing)

    with TaskGroup() as group:
        group.spawn(careless)
        group.spawn(sleep, 100)
    kept[0].join()
    with pytest.raises(RuntimeError, match="not open"):
        kept[1].close()


@in_a_hub
def test_invariant_4_scopes_of_another_task_are_its_own() -> None:
    """A task that is merely spawned inside a scope is not in it."""
    with CancelScope() as scope:
        task = spawn(sleep, 1)
        scope.cancel()
        sleep(AGES)
    task.get()
    assert current_time() == 1.0


def test_invariant_4_another_thread_is_refused() -> None:
    def main() -> None:
        errors = []
        scope, group = CancelScope(), TaskGroup()

        def meddle() -> None:
            for meddling in (scope.cancel, lambda: setattr(scope, "deadline", 3), lambda: setattr(scope, "shield", True), lambda: group.spawn(sleep)):
                with pytest.raises(WrongThreadError) as caught:
                    meddling()
                errors.append(str(caught.value))

        with scope, group:
            thread = threading.Thread(target=meddle)
            thread.start()
            thread.join()
            sleep(0)
        assert len(errors) == 4
        assert not scope.cancel_called and not scope.shield
        with CancelScope() as scope:
            thread = threading.Thread(target=current_hub().call_soon_threadsafe, args=(scope.cancel,))
            thread.start()
            sleep(5)
        assert scope.cancelled_caught
        thread.join()

    run(main)


def test_a_scope_on_the_hub_is_refused() -> None:
    errors = []

    def callback() -> None:
        for thing in (CancelScope(), TaskGroup()):
            with pytest.raises(ParkInHubError) as caught:
                thing.__enter__()  # type: ignore[attr-defined]  # both have
            errors.append(caught.value)

    def main() -> None:
        current_hub().call_soon(callback)
        sleep(0)
        sleep(0)

    run(main)
    assert len(errors) == 2


def test_code_that_forks_inside_scopes_leaves_them_in_the_child() -> None:
    def main() -> int:
        with move_on_after(50), TaskGroup() as group:
            group.spawn(sleep, 0.001)
            sleep(0)
            child = os.fork()
            if not child:
                with move_on_after(0.001) as scope:
                    sleep(5)
                assert scope.cancelled_caught
        if not child:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run(main) == 7


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: move_on_after(-1), ValueError, "not negative"),
        (lambda: fail_after(float("nan")), ValueError, "NaN"),
        (lambda: move_on_after("soon"), TypeError, "a number of seconds"),
        (lambda: move_on_after(Timeout(1)), TypeError, "Scopes and Timeouts nest"),
        (lambda: CancelScope(deadline="soon"), TypeError, "a number of seconds"),
        (lambda: CancelScope(deadline=float("nan")), ValueError, "NaN"),
        (lambda: CancelScope(timeout=1, deadline=1), ValueError, "not both"),
        (lambda: TaskGroup().spawn(print), RuntimeError, "was not entered yet"),
    ],
)
def test_bad_input(make: Callable[[], object], error: type[BaseException], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


# -- invariant 5: a wake is final ---------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_5_what_was_handed_over_arrives_and_the_next_wait_is_cancelled() -> None:
    lot = ParkingLot()
    got = []

    def body(scope: CancelScope) -> None:
        with scope:
            got.append(lot.park())
            got.append(lot.park())
            pytest.fail("not reached")

    for order in ("wake first", "cancel first"):
        scope = CancelScope()
        task = spawn(body, scope)
        sleep(0)
        if order == "wake first":
            assert lot.unpark("item")
            scope.cancel()
        else:
            scope.cancel()
            assert not lot.unpark("item"), "it goes to somebody else"
        task.get()
        assert scope.cancelled_caught
    assert got == ["item"]
    assert len(lot) == 0


@in_a_hub
def test_invariant_5_a_deadline_and_a_wake_in_one_batch() -> None:
    """Timers due at the same moment: the wake was set first, or the deadline was."""
    lot = ParkingLot()
    for wake_first in (True, False):
        if wake_first:
            spawn(lambda: (sleep(1), lot.unpark("item")))
            sleep(0)
        with move_on_after(1) as scope:
            if not wake_first:
                spawn(lambda: (sleep(1), lot.unpark("item")))
                sleep(0)
            lot.park()
        assert scope.cancelled_caught  # the timer of the waker only makes it ready; the deadline comes in the same pass
        with move_on_after(1) as scope:
            assert park("x", 1) is (not wake_first and False)
        assert not wake_first or scope.cancel_called


# -- invariant 6: kills and timeouts ------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_6_a_kill_passes_through_scopes_and_shields() -> None:
    passed = []

    def body() -> None:
        with CancelScope() as outer, CancelScope(shield=True):
            outer.cancel()
            try:
                sleep(AGES)
            except TaskExit:
                passed.append("through the shield")
                raise

    task = spawn(body)
    sleep(0)
    task.kill()
    assert passed == ["through the shield"]
    assert isinstance(task.value, TaskExit)


@in_a_hub
def test_invariant_6_a_kill_is_thrown_once_and_a_cancellation_again_and_again() -> None:
    seen: list[str] = []

    def body() -> None:
        with CancelScope() as scope:
            scope.cancel()
            for _ in range(4):
                try:
                    sleep(AGES)
                except BaseException as error:
                    seen.append(type(error).__name__)
                    if len(seen) == 1:
                        throw_in(current_task(), TaskExit())

    spawn(body).get()
    assert seen == ["Cancelled", "TaskExit", "Cancelled", "Cancelled"]


@in_a_hub
def test_invariant_6_kills_before_the_start_and_twice() -> None:
    begun: list[int] = []
    with TaskGroup() as group:
        never = group.spawn(begun.append, 1)
        never.kill()
        twice = group.spawn(sleep, AGES)
        sleep(0)
        twice.kill(block=False)
        twice.kill(block=False)
        group.spawn(sleep, 1)
    assert begun == []
    assert isinstance(never.value, TaskExit) and isinstance(twice.value, TaskExit)
    assert current_time() == 1.0


# Timeout(outer) around a scope(inner), and the other way round: who is raised when one, the other or both come.
@pytest.mark.parametrize("shield", [False, True])
@pytest.mark.parametrize(("timeout", "limit"), [(1, 2), (2, 1), (1, 1)])
@in_a_hub
def test_invariant_6_a_timeout_around_a_scope(timeout: int, limit: int, shield: bool) -> None:
    after_scope = False
    with pytest.raises(Timeout), Timeout(timeout):
        with move_on_after(limit, shield=shield) as scope:
            sleep(AGES)
        after_scope = True
        sleep(AGES)
    assert current_time() == timeout
    assert after_scope == scope.cancelled_caught == (limit < timeout)


@pytest.mark.parametrize(("timeout", "limit"), [(1, 2), (2, 1), (1, 1)])
@in_a_hub
def test_invariant_6_a_scope_around_a_timeout(timeout: int, limit: int) -> None:
    after_timeout = False
    with move_on_after(limit) as scope:
        with Timeout(timeout, False):
            sleep(AGES)
        after_timeout = True
        sleep(AGES)
    assert current_time() == limit
    assert scope.cancelled_caught
    assert after_timeout == (timeout < limit)


@in_a_hub
def test_invariant_6_a_timeout_in_a_cancelled_scope_that_is_shielded() -> None:
    with CancelScope() as scope:
        scope.cancel()
        with CancelScope(shield=True), pytest.raises(Timeout), Timeout(1):
            sleep(AGES)
    assert current_time() == 1.0


# -- invariant 7: groups wait -------------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_7_a_group_is_left_when_all_have_ended() -> None:
    done = []

    def child(n: int, *, deeper: int) -> int:
        sleep(n)
        if deeper:
            group.spawn(child, n, deeper=deeper - 1)
        done.append(n)
        return n

    with TaskGroup() as group:
        tasks = [group.spawn(child, n, deeper=2) for n in (1, 2, 3)]
        assert group.tasks == tuple(tasks)
    assert [task.value for task in tasks] == [1, 2, 3]
    assert len(done) == 9
    assert current_time() == 9.0
    assert group.tasks == ()
    assert repr(group) == "<TaskGroup left, 0 tasks>"


@in_a_hub
def test_invariant_7_an_empty_group_does_not_wait() -> None:
    turns = []
    spawn(turns.append, 1)
    with TaskGroup():
        pass
    assert turns == []


@in_a_hub
def test_invariant_7_spawn_after_the_exit_is_refused_and_during_the_exit_is_not() -> None:
    with TaskGroup() as group:
        group.spawn(lambda: (sleep(1), group.spawn(sleep, 1)))
    assert current_time() == 2.0
    with pytest.raises(RuntimeError, match="left already, and nobody would wait"):
        group.spawn(sleep, 1)


@in_a_hub
def test_invariant_7_nested_groups_and_tasks_that_spawn_into_an_outer_group() -> None:
    def inner_body() -> None:
        with TaskGroup() as inner:
            inner.spawn(sleep, 1)
            inner.spawn(outer.spawn, sleep, 3)
        assert current_time() == 1.0

    with TaskGroup() as outer:
        outer.spawn(inner_body)
    assert current_time() == 3.0


@in_a_hub
def test_invariant_7_tasks_that_clean_up_slowly_are_waited_for() -> None:
    def slow() -> None:
        try:
            sleep(AGES)
        finally:
            with CancelScope(shield=True):
                sleep(5)

    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(slow)
        group.spawn(fail, KeyError(1), 1)
    assert current_time() == 6.0


@in_a_hub
def test_invariant_7_deeply_nested_groups() -> None:
    """Far deeper than the recursion limit."""

    def nest(left: int) -> None:
        with TaskGroup() as group:
            if left:
                group.spawn(nest, left - 1)
            else:
                reached.append(1)
            sleep(AGES)

    reached: list[int] = []
    with CancelScope() as scope, TaskGroup() as group:
        group.spawn(nest, 1500)
        while not reached:
            sleep(0)
        scope.cancel()
    assert scope.cancelled_caught


@in_a_hub
def test_a_wait_in_a_group_names_its_tasks() -> None:
    def main() -> None:
        with TaskGroup() as group:
            for _ in range(6):
                group.spawn(park, "the end of the world")

    parent = spawn(main)
    sleep(0)
    sleep(0)
    assert parent.waiting_on.startswith("the end of 6 tasks of a TaskGroup: park-")
    assert parent.waiting_on.endswith(" ...")
    assert parent.waiting_on.count("park-") == 5
    parent.kill()


def test_a_deadlock_in_a_group_is_bare_and_names_who_waits_for_whom() -> None:
    def main() -> None:
        with TaskGroup() as group:
            group.spawn(parent.append(current_task()) or parent[0].join)  # type: ignore[func-returns-value]  # for its effect

    parent: list[Task[Any]] = []
    with pytest.raises(Deadlock) as caught:
        run(main)
    assert "waits for the end of 1 task of a TaskGroup: " in str(caught.value)
    assert "held by" not in str(caught.value)
    assert "wait for each other in a cycle" in str(caught.value)


# -- invariant 8: failures ----------------------------------------------------------------------------------------------


@in_a_hub
def test_invariant_8_the_first_failure_cancels_the_others_and_the_body() -> None:
    ended = []

    def child() -> None:
        try:
            sleep(AGES)
        except Cancelled as error:
            ended.append(error.scope is group.cancel_scope)
            raise

    with pytest.raises(ExceptionGroup) as caught:
        with TaskGroup() as group:
            tasks = [group.spawn(child), group.spawn(fail, KeyError(1), 1), group.spawn(child)]
            try:
                sleep(AGES)
            finally:
                ended.append("body")
    assert ended == ["body", True, True]
    [error] = caught.value.exceptions
    assert isinstance(error, KeyError)
    assert str(caught.value) == "1 failure in a TaskGroup (1 sub-exception)"
    assert error.__notes__[0].startswith(f"in task '{tasks[1].name}' of a TaskGroup, spawned at ")
    assert "test_scope.py" in error.__notes__[0]
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert current_time() == 1.0
    assert isinstance(tasks[0].exception, Cancelled)


@in_a_hub
def test_invariant_8_an_error_of_the_body_cancels_the_tasks() -> None:
    error = KeyError(1)
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(sleep, AGES)
        raise error
    assert caught.value.exceptions == (error,)
    assert not hasattr(error, "__notes__")
    assert current_time() == 0


@in_a_hub
def test_invariant_8_failures_come_in_the_order_in_which_they_happened() -> None:
    def clean_up_badly(n: int) -> None:
        try:
            sleep(AGES)
        finally:
            with CancelScope(shield=True):
                sleep(10 - n)
            raise ValueError(n)

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(clean_up_badly, 1)
        group.spawn(clean_up_badly, 2)
        group.spawn(fail, KeyError("first"), 1)
        try:
            sleep(AGES)
        finally:
            raise OSError("body")
    assert [error.args[0] for error in caught.value.exceptions] == ["first", "body", 2, 1]


@in_a_hub
def test_invariant_8_an_error_that_the_body_got_from_a_task_comes_out_once() -> None:
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail, KeyError(1)).get()
    assert len(caught.value.exceptions) == 1
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        task = group.spawn(fail, KeyError(2))
        yield_now()  # it has ended, and the group was not told yet
        task.get()
    assert [str(error) for error in caught.value.exceptions] == ["2"]


@in_a_hub
def test_invariant_8_what_has_gone_wrong_so_far_is_known_in_the_block() -> None:
    wrong = ValueError("on purpose")

    def fail() -> None:
        raise wrong

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        assert group.failures == ()
        group.spawn(fail)
        with pytest.raises(Cancelled):
            park("a cancellation")
        assert group.failures == (wrong,)
    assert caught.value.exceptions == (wrong,) and group.failures == ()


@in_a_hub
def test_invariant_8_a_base_exception_makes_a_base_exception_group() -> None:
    class Odd(BaseException):
        pass

    for where in ("task", "body"):
        with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
            if where == "task":
                group.spawn(fail, Odd())
            else:
                raise Odd
        assert type(caught.value) is BaseExceptionGroup


@in_a_hub
def test_invariant_8_groups_nest_and_so_do_their_errors() -> None:
    def inner() -> None:
        with TaskGroup() as group:
            group.spawn(fail, KeyError(1))
            group.spawn(sleep, AGES)

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        outer.spawn(inner)
        outer.spawn(sleep, AGES)
    [group] = caught.value.exceptions
    assert isinstance(group, ExceptionGroup)
    assert "in task 'inner-" in group.__notes__[0] or "inner-" in group.__notes__[0]
    assert isinstance(group.exceptions[0], KeyError)


@in_a_hub
def test_invariant_8_failures_in_a_group_are_received(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        with TaskGroup() as group:
            group.spawn(fail, KeyError(1))
            group.spawn(sleep, AGES)
    except* KeyError:
        pass
    del group
    gc.collect()
    sleep(0)
    assert capfd.readouterr().err == ""


@in_a_hub
def test_invariant_8_a_killed_task_is_no_failure() -> None:
    with TaskGroup() as group:
        task = group.spawn(sleep, AGES)
        group.spawn(sleep, 1)
        sleep(0)
        task.kill()
    assert not group.cancel_scope.cancel_called


@in_a_hub
def test_invariant_8_a_timeout_that_nobody_caught_is_a_failure() -> None:
    def late() -> None:
        with Timeout(1):
            sleep(AGES)

    for where in ("task", "body"):
        with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
            if where == "task":
                group.spawn(late)
            else:
                late()
        assert isinstance(caught.value.exceptions[0], Timeout)


def test_invariant_8_an_interrupt_of_the_program_is_bare() -> None:
    def main(in_child: bool, kind: type[BaseException], also: bool) -> None:
        with TaskGroup() as group:
            if also:
                group.spawn(fail, KeyError(1))
                group.spawn(sleep, 0.001).join()
            if in_child:
                group.spawn(fail, kind())
                sleep(AGES)
            else:
                raise kind

    for in_child, kind in itertools.product((True, False), (KeyboardInterrupt, SystemExit)):
        with pytest.raises(kind) as caught:
            run(main, in_child, kind, False, clock=JumpingClock())
        assert caught.value.__cause__ is None


@in_a_hub
def test_invariant_8_an_interrupt_has_the_failures_for_its_cause() -> None:
    with pytest.raises(SystemExit) as caught:
        with TaskGroup() as group:
            group.spawn(fail, KeyError(1))
            try:
                sleep(AGES)
            finally:
                raise SystemExit(3)
    assert isinstance(caught.value.__cause__, ExceptionGroup)


@in_a_hub
def test_invariant_8_a_generator_that_is_closed_in_a_group_ends_quietly() -> None:
    def generator() -> Iterator[int]:
        with TaskGroup() as group:
            group.spawn(sleep, AGES)
            yield 1

    made = generator()
    next(made)
    made.close()
    assert current_time() == 0


# -- invariant 9: nothing that was thrown is lost -----------------------------------------------------------------------


class Point:
    """A place of a task in a group, where something is thrown into it."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.children: list[Task[Any]] = []

    def run(self) -> None:
        with TaskGroup() as group:
            self.children = [group.spawn(sleep, AGES), group.spawn(self._slow)]
            sleep(0)
            if self.where == "body":
                sleep(AGES)

    def _slow(self) -> None:
        try:
            sleep(AGES)
        finally:
            with CancelScope(shield=True):
                sleep(1)


@pytest.mark.parametrize("where", ["body", "exit"])
@pytest.mark.parametrize("times", [1, 2, 3])
@in_a_hub
def test_invariant_9_a_kill_in_the_body_or_the_exit(where: str, times: int) -> None:
    point = Point(where)
    task = spawn(point.run)
    sleep(0.5)
    for _ in range(times):
        task.kill(block=False)
        sleep(0.1)
    task.join()
    assert isinstance(task.value, TaskExit), "killed, however often"
    assert all(child.dead for child in point.children)
    assert current_time() == 1.5


@in_a_hub
def test_invariant_9_a_kill_before_the_start_of_the_task_with_the_group() -> None:
    task = spawn(Point("body").run)
    task.kill()
    assert isinstance(task.value, TaskExit)


@pytest.mark.parametrize("where", ["body", "exit"])
@in_a_hub
def test_invariant_9_a_timeout_in_the_body_or_the_exit(where: str) -> None:
    point = Point(where)
    with pytest.raises(Timeout), Timeout(0.5):
        point.run()
    assert all(child.dead for child in point.children)
    assert current_time() == 1.5
    with Timeout(0.5, False):
        point.run()
    with pytest.raises(ExceptionGroup) as caught, Timeout(0.5, KeyError):
        point.run()
    assert isinstance(caught.value.exceptions[0], KeyError)


@pytest.mark.parametrize("where", ["body", "exit"])
@pytest.mark.parametrize("how", ["outer deadline", "outer cancel", "own deadline", "own cancel"])
@in_a_hub
def test_invariant_9_a_cancellation_in_the_body_or_the_exit(where: str, how: str) -> None:
    reached = []
    with CancelScope() as outer:
        group = TaskGroup()
        scope = outer if how.startswith("outer") else group.cancel_scope
        if how.endswith("deadline"):
            scope.deadline = current_time() + 0.5
        else:
            spawn(lambda: (sleep(0.5), scope.cancel(), scope.cancel()))
        with group:
            children = [group.spawn(sleep, AGES), group.spawn(Point("x")._slow)]
            if where == "body":
                sleep(AGES)
        reached.append(1)
    assert all(child.dead for child in children)
    assert current_time() == 1.5
    assert scope.cancelled_caught
    assert bool(reached) == how.startswith("own")
    assert outer.cancelled_caught == how.startswith("outer")


@in_a_hub
def test_invariant_9_a_kill_beside_a_failure_comes_at_the_next_wait() -> None:
    steps: list[str] = []

    def bad_clean_up() -> None:
        try:
            sleep(AGES)
        finally:
            raise KeyError(1)

    def body() -> None:
        try:
            with TaskGroup() as group:
                group.spawn(bad_clean_up)
        except* KeyError:
            steps.append("the failure")
        try:
            sleep(0)
        except TaskExit:
            steps.append("the kill")
            raise

    task = spawn(body)
    sleep(0.1)
    task.kill()
    assert steps == ["the failure", "the kill"]
    assert isinstance(task.value, TaskExit)


@in_a_hub
def test_invariant_9_two_timeouts_and_a_kill_in_one_exit() -> None:
    """Each is raised where its block is; a Timeout whose block was left is not."""

    def body() -> str:
        with Timeout(0.7) as outer:
            with Timeout(0.5) as inner:
                with pytest.raises(Timeout) as caught:
                    Point("exit").run()
                assert caught.value is inner
            with pytest.raises(Timeout) as caught:
                sleep(AGES)
            assert caught.value is outer
        with Timeout(0.7), pytest.raises(Timeout), Timeout(0.5):
            Point("exit").run()
        sleep(0)
        return "not killed"

    assert spawn(body).get() == "not killed"

    def killed() -> None:
        with Timeout(0.5, False):
            Point("exit").run()
        steps.append("after the group")
        sleep(0)
        steps.append("never")

    steps: list[str] = []
    task = spawn(killed)
    sleep(0.7)
    task.kill()
    assert steps == ["after the group"]
    assert isinstance(task.value, TaskExit)


@in_a_hub
def test_invariant_9_a_timeout_beside_a_failure_is_not_raised_after_its_block() -> None:
    def bad_clean_up() -> None:
        try:
            sleep(AGES)
        finally:
            raise KeyError(1)

    with pytest.raises(ExceptionGroup), Timeout(0.5), TaskGroup() as group:
        group.spawn(bad_clean_up)
    sleep(0)


@in_a_hub
def test_invariant_9_a_cancellation_beside_a_failure_comes_at_the_next_wait() -> None:
    steps = []

    def bad_clean_up() -> None:
        try:
            sleep(AGES)
        finally:
            raise KeyError(1)

    with move_on_after(1) as scope:
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            group.spawn(bad_clean_up)
            sleep(AGES)
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        steps.append("the failure")
        sleep(0)
        steps.append("never")
    assert steps == ["the failure"]
    assert scope.cancelled_caught


@in_a_hub
def test_invariant_9_the_exit_of_a_group_is_a_wait_for_scopes_further_out() -> None:
    """What a scope has cut short must not look as if it were done, though the body did not wait while it was cancelled."""
    with CancelScope() as outer:
        with TaskGroup() as group:
            task = group.spawn(sleep, AGES)
            with CancelScope(shield=True):
                sleep(0)
                outer.cancel()
                task.join()
        pytest.fail("not reached")
    assert outer.cancelled_caught


@in_a_hub
def test_invariant_9_a_shield_that_goes_up_too_late_does_not_swallow_a_cancelled() -> None:
    with CancelScope() as outer:
        with TaskGroup() as group:
            outer.cancel()
            try:
                sleep(0)
            finally:
                group.cancel_scope.shield = True
        pytest.fail("not reached")
    assert outer.cancelled_caught


@in_a_hub
def test_a_group_in_a_task_of_a_hub_that_closes_ends_with_its_tasks() -> None:
    steps: list[str] = []

    def body() -> None:
        try:
            with TaskGroup() as group:
                group.spawn(child)
        finally:
            steps.append("parent")

    def child() -> None:
        try:
            sleep(AGES)
        finally:
            steps.append("child")

    task = spawn(body)
    sleep(0)
    sleep(0)
    assert task.state == "parked"
    task.kill()
    assert steps == ["child", "parent"]


def test_a_task_that_will_not_end_does_not_make_the_end_of_its_hub_hang() -> None:
    def stubborn() -> None:
        while True:
            try:
                sleep(AGES)
            except BaseException:
                pass

    def body() -> None:
        with TaskGroup() as group:
            group.spawn(stubborn)

    hub = make_hub()
    previous = hub.enter()
    try:
        parent = spawn(body)
        sleep(0)
        sleep(0)
        with pytest.warns(RuntimeWarning, match="were abandoned"):
            hub.close(timeout=0.01)
        # What the interpreter does with such a stack in the end.
        parent._greenlet.throw(TaskExit())  # type: ignore[union-attr]  # it has not ended
        assert parent.dead
    finally:
        hub.leave(previous)


# -- invariant 10: what a cancellation reaches --------------------------------------------------------------------------


@in_a_hub
def test_invariant_10_a_cancellation_reaches_all_groups_within() -> None:
    names: list[str] = []

    def child(name: str, seconds: float = AGES) -> None:
        try:
            sleep(seconds)
            names.append(f"{name} slept")
        except Cancelled:
            names.append(f"{name} cancelled")
            raise

    def parent(name: str, shield: bool) -> None:
        with CancelScope(shield=shield), TaskGroup() as group:
            group.spawn(child, f"{name} child", 5)
            child(name, 5)

    with TaskGroup() as around:
        around.spawn(child, "outside", 5)
        with CancelScope() as scope:
            with TaskGroup() as group:
                group.spawn(child, "direct")
                group.spawn(parent, "open", False)
                group.spawn(parent, "shielded", True)
                sleep(1)
                scope.cancel()
            pytest.fail("not reached")
    assert sorted(names) == ["direct cancelled", "open cancelled", "open child cancelled", "outside slept", "shielded child slept", "shielded slept"]


@in_a_hub
def test_invariant_10_a_task_that_begins_in_a_cancelled_group_meets_it_at_its_first_wait() -> None:
    steps: list[str] = []

    def child(name: str) -> None:
        steps.append(f"{name} begins")
        sleep(0)
        steps.append("never")

    with TaskGroup() as group:
        group.spawn(child, "early")
        group.cancel_scope.cancel()
        group.spawn(child, "late")
    assert steps == ["early begins", "late begins"]
    assert group.cancel_scope.cancelled_caught


@in_a_hub
def test_invariant_10_a_shielded_group_is_not_reached_until_the_shield_goes_down() -> None:
    with CancelScope() as outer:
        with TaskGroup() as group:
            group.cancel_scope.shield = True
            task = group.spawn(sleep, AGES)
            sleep(1)
            outer.cancel()
            sleep(1)
            assert not task.dead
            spawn(lambda: (sleep(1), setattr(group.cancel_scope, "shield", False)))
        pytest.fail("not reached")
    assert outer.cancelled_caught
    assert current_time() == 3.0


@in_a_hub
def test_invariant_10_a_child_may_cancel_a_scope_of_its_parent() -> None:
    with CancelScope() as scope, TaskGroup() as group:
        group.spawn(lambda: (sleep(1), scope.cancel()))
        group.spawn(sleep, AGES)
        sleep(AGES)
    assert scope.cancelled_caught
    assert current_time() == 1.0


@in_a_hub
def test_a_scope_says_what_it_is() -> None:
    scope = CancelScope(timeout=3, shield=True)
    assert repr(scope) == "<CancelScope not entered, shielded, timeout 3 s>"
    with scope:
        scope.cancel()
        with pytest.raises(Cancelled, match="was cancelled. Each wait in it raises this") as caught:
            sleep(0)
        assert repr(caught.value) == f"Cancelled({scope!r})"
        assert repr(scope) == f"<CancelScope open, cancelled, shielded, timeout 3 s, of {current_task().name}>"
    assert repr(CancelScope(deadline=2.5)) == "<CancelScope not entered, deadline 2.5>"
    assert repr(fail_after(1)) == "<FailScope not entered, timeout 1 s>"
    with TaskGroup() as group:
        assert repr(group) == "<TaskGroup open, 0 tasks>"


def test_the_page_shows_the_signatures_as_they_are() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "scopes.md").read_text()
    for callable_ in (CancelScope, move_on_after, fail_after):
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in inspect.signature(callable_).parameters.values()]
        assert f"| `{callable_.__name__}{inspect.Signature(bare)}` |" in page


def test_a_group_whose_hub_is_closed_inside_it_does_not_wait_for_what_was_abandoned() -> None:
    def stubborn() -> None:
        while True:
            try:
                sleep(AGES)
            except TaskExit:
                pass

    hub = make_hub(clock=JumpingClock())
    previous = hub.enter()
    try:
        with TaskGroup() as group:
            task = group.spawn(stubborn)
            yield_now()
            with pytest.warns(LeftBehindWarning, match="were abandoned: 'stubborn-"):
                hub.close(timeout=0)
        assert (group.tasks, task.dead) == ((), True)
    finally:
        hub.leave(previous)
