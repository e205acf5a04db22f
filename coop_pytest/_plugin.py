"""What happens to marked tests. Registered once a session has collected one.

Theory
======
pytest runs a test by one call of the hook ``pytest_runtest_protocol``: wrappers of other plugins, and in the middle what sets up, calls and tears down. Our
implementation is the first in the middle. It makes the same call once more, for the implementations that are left and without the wrappers, in a task of the
test's hub. So the three phases are one task, the wrappers run once, and plugins that bring their own protocol (reruns) still do.

Fixtures are finished where they were made (see ``_hubs``), whichever test is the last one to use them. While its tasks live, a fixture can only be
used where these run: on its hub.

Invariants
==========
1. Setup, call and teardown of a marked test, and every ``def`` fixture made for it, run in one task.
2. Nothing of an unmarked test, nor of the fixtures made for it, runs in a task of ours.
3. A task that failed during a marked test, and that nobody joined, fails that test, once; what it was is in the report, however the test itself ended.
   One that fails while a fixture is finished on a hub where no test runs is an error of that fixture's end.
4. When a marked test is over no task that it started is alive, nor one that was started for a fixture that is finished.
5. Whatever the test raises, the hub is left, and the next test runs.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coopcore import Deadlock, Hub, Task, current_task, hookimpl
from coopcore.errors import CoopError
from coopcore.lowlevel import Promise, TaskView, hide_frames, plugins, scope_of, shielded

from . import MARK, TREE, TaskFailed
from ._blocking import Blocking
from ._contexts import Layer
from ._examples import Judge
from ._hubs import Hubs
from ._leaks import Made, Watch, by_ini, by_mark, find_left, loose, part_of, reached_from, report
from ._mark import MarkError, Plan, is_async, wanted_of
from ._native import Alarm
from ._places import without_machinery
from ._tasks import OWNER, Failed, Owner, end_tasks, in_full, is_skip, is_verdict, only_verdicts, raise_failed, take_failures, tasks_of
from ._tree import tree
from ._uncommon import keep_failure, unwrapped, wrap_finalizers
from ._watchdog import Settings, Watchdog
from .fixtures import TOLD

if TYPE_CHECKING:
    from coop_plugins.scope import OpenScopes

hide_frames(__file__)

_INSIDE = ("coopcore.", "coop_plugins.", "coop_pytest.")
# What ends the session, or is about to: nothing may wait any more.
_ENDS = (KeyboardInterrupt, pytest.exit.Exception)


class Switches(NamedTuple):
    """What fails a test, as its marks and the ini file say."""

    leaks: frozenset[str]  # the kinds of things that it must not leave behind
    blocking: float  # seconds for which it may block the hub; 0 for any time
    unjoined: bool  # whether a failed task that nobody joined does
    deadlock: bool  # whether a deadlock does


class Run(Owner):
    """A marked test that is under way."""

    def __init__(self, item: pytest.Item, hub: Hub | None, problem: str, switches: Switches) -> None:
        super().__init__()
        self.item = item
        self.hub = hub
        self.problem = problem  # why the test cannot run
        self.leaks = switches.leaks
        self.blocking = switches.blocking
        self.unjoined = switches.unjoined
        self.deadlock = switches.deadlock
        self.is_watched = hub is not None and bool(self.leaks)
        self.is_in_phase = False  # its function, or its teardown, is at work
        self.is_spoilt = False  # it has failed, or was skipped in the middle, which explains what it leaves behind
        self.lost: list[Failed] = []  # failed, and dropped by everybody
        self.unreported: list[Failed] = []  # the phase has failed by itself; these go into its report
        self.tree = ""  # of the tasks, as it was when the phase failed
        self.sections: list[tuple[str, str]] = []  # title and text of what else goes into the next report
        self.first_ident = 0

    def take_failures(self, since: int) -> list[Failed]:
        """Everything that failed, was not joined, and was not taken yet; of tasks that are still referred to, only those from number ``since`` on.

        If they are not to fail the test they go into its report, and are not returned.
        """
        assert self.hub is not None
        failures = take_failures(self.hub, self.lost, since)
        return failures if self.unjoined else only_verdicts(failures, lambda text: self.sections.append(("failed tasks", text)))

    def own_tasks(self) -> list[Task[Any]]:
        """What it started itself, or a task of its did, and is still alive, but for the test's task. Not what its fixtures did.

        Who was started without a context counts if that was during this test: by a callback on the hub, or as a thread of a patched program.
        """
        assert self.hub is not None
        me = current_task()
        unowned = [task for task in tasks_of(None, self.hub) if task.ident > self.first_ident]
        return [task for task in tasks_of(self, self.hub) + unowned if task is not me]


class Fixture(Owner):
    """A fixture that was set up, and not finished."""

    def __init__(self, definition: pytest.FixtureDef[Any], node: Any, hub: Hub | None, is_watched: bool) -> None:
        super().__init__()
        self.is_watched = is_watched and hub is not None
        self.name = definition.argname
        self.scope = definition.scope
        self.node = node
        self.hub = hub
        self.layer = Layer() if hub is not None and self.scope != "function" else None
        self.is_spoilt = False  # its setup has failed, which explains what it leaves behind
        self.scopes: OpenScopes | None = None  # those around its yield, if there are any
        self._definition = definition

    def is_used_by(self, item: pytest.Item) -> bool:
        return self.name in getattr(item, "fixturenames", ()) and self.node in item.listchain()

    @property
    def value(self) -> Any:
        """What it was made to be; None if it is not."""
        made = self._definition.cached_result
        return None if made is None else made[0]

    def take_scopes(self, outer: Any) -> None:
        """It is wider than a test, and has yielded inside of scopes: these are no scopes of this test."""
        from coop_plugins.scope import OpenScopes

        self.scopes = OpenScopes(outer)

    def in_its_scopes(self, fn: Callable[[], object]) -> object:
        """Call ``fn()`` in the scopes around its yield."""
        __tracebackhide__ = True
        with self.scopes.entered() if self.scopes else nullcontext():
            return fn()

    @property
    def cut_short(self) -> str:
        """That its scopes were cancelled, and what that means; empty if they were not."""
        cancelled = self.scopes.cancelled if self.scopes else None
        if cancelled is None:
            return ""
        return (
            f"{self}, which is in {cancelled!r}: a task of its group has failed, or its time was over, so the tasks in there were ended. "
            f"If there is an error, it is told at the end of the fixture."
        )

    def forget_uses(self) -> None:
        """It is finished."""
        vars(self._definition).pop("execute", None)

    def bonds(self, hub: Hub | None) -> str:
        """Why it can only be used on ``hub``, where it was made; empty if it can be anywhere."""
        names = [repr(task.name) for task in tasks_of(self, hub)] if hub is not None else []
        if names:
            return f"has tasks there: {', '.join(names)}. They stand still while the test runs"
        part = None if hub is None else part_of(hub, self.value)
        if self.scopes:
            return "is in a cancel scope there. Its tasks stand still while the test runs"
        if part is not None:
            return f"{'is' if part is self.value else 'refers to what is'} part of it: {part!r}. It would stand still while the test runs"
        return ""

    def __str__(self) -> str:
        return f"fixture {self.name!r} ({self.scope} scope)"


class Plugin:
    """The hooks of a session with marked tests."""

    def __init__(self, config: pytest.Config, marked: Sequence[pytest.Item]) -> None:
        self._config = config
        self._hubs = Hubs()
        self._run: Run | None = None
        self._item = ""  # which test runs, marked or not
        self._runs: dict[pytest.Item, Run] = {}  # the same, for `Blocking`
        self._watchdog: Watchdog | None = None
        self._alarm = Alarm()
        self._fixtures: list[Fixture] = []
        self._lost: list[Failed] = []  # as Run.lost, while no test runs on a hub
        self._marked: dict[pytest.Item, Plan] = {}
        self._refused: dict[pytest.Item, str] = {}  # why a mark makes no sense there
        self._switches = Switches(
            leaks=frozenset(config.getini("coop_leaks")),
            blocking=float(config.getini("coop_blocking")),
            unjoined=config.getini("coop_unjoined"),
            deadlock=config.getini("coop_deadlock"),
        )
        self._watch = Watch()
        for item in marked:
            self._read_mark(item)
        self._is_watching = any(self._switches_of(item).leaks for item in marked)
        if self._is_watching:
            self._watch.start()
            self._watch.look_for_modules()
        if any(self._switches_of(item).blocking for item in marked):
            config.pluginmanager.register(Blocking(self._runs), "coop-blocking")
        _check_coverage()
        self._core = plugins()
        self._core.add(self, f"coop_pytest-{id(self):x}", "coopcore")

    def _read_mark(self, item: pytest.Item) -> None:
        """Most marks that make no sense are errors of the collection; of what cannot be parametrised, it is the test that fails, alone."""
        self._marked[item] = Plan()
        try:
            self._marked[item] = wanted_of(item)
        except MarkError as error:
            self._refused[item] = f"{item.nodeid}: {error}"

    def _switches_of(self, item: pytest.Item) -> Switches:
        plan = self._marked[item]
        return Switches(*(getattr(plan, name) if getattr(plan, name) is not None else default for name, default in self._switches._asdict().items()))

    # -- the session ----------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        try:
            return (yield)
        except BaseException as error:
            raise unwrapped(error)
        finally:
            self._hubs.close()

    def pytest_unconfigure(self) -> None:
        self._watch.close()
        self._alarm.close()
        self._core.manager.unregister(self)

    @hookimpl
    def coop_task_failed(self, task: TaskView, error: BaseException) -> bool | None:
        """Implements coopcore's hook: a task failed, and nobody refers to it any more."""
        run = self._run_on_hub()
        if run is None and self._hubs.current is None:
            return None
        if isinstance(error, pytest.exit.Exception) and self._hubs.current is not None:
            self._hubs.current.interrupt_main(error)
        else:
            lost = self._lost if run is None else run.lost
            lost.append(Failed(task, error, error.__traceback__))
        return True

    # -- one test -------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        if item not in self._marked or self._run is not None:
            return None
        hub, problem = self._hub_for(item)
        wrap_finalizers(item)
        self._run = run = Run(item, hub, problem, self._switches_of(item))
        self._runs[item] = run
        protocol = self._rest_of_protocol()

        def test() -> object:
            if hub is not None:
                run.first_ident = _next_ident()
            OWNER.set(run)
            for fixture in self._fixtures:
                if fixture.layer is not None and fixture.is_used_by(item):
                    fixture.layer.apply()
            with _without_deadlock(hub) if hub is not None and not run.deadlock else nullcontext():
                return protocol(item=item, nextitem=nextitem)

        try:
            return self._hubs.call(hub, test, item.name)
        finally:
            self._run = None
            del self._runs[item]

    def _hub_for(self, item: pytest.Item) -> tuple[Hub | None, str]:
        """The hub that it runs on; or None, and why it cannot run."""
        if item in self._refused:
            return None, self._refused[item]
        plan = self._marked[item]
        try:
            return self._hubs.get(plan.backend, plan.clock), ""
        except CoopError as error:
            return None, f"{item.nodeid} cannot run in a task: {error}"

    def _rest_of_protocol(self) -> Callable[..., object]:
        """The hook, without its wrappers, which are at work already, and without us."""
        manager = self._config.pluginmanager
        impls = manager.hook.pytest_runtest_protocol.get_hookimpls()
        return manager.subset_hook_caller("pytest_runtest_protocol", [impl.plugin for impl in impls if impl.hookwrapper or impl.wrapper or impl.plugin is self])

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse what cannot work. After marks like skip were looked at, and before any fixture."""
        run = self._run
        self._item = item.nodeid
        if item in self._marked:
            if run is None or run.item is not item:
                pytest.fail(
                    f"{item.nodeid} is marked {MARK}, but does not run in a task: another plugin has taken over pytest_runtest_protocol before this one. "
                    f"Let its implementation not be tryfirst, or turn it off for this test.",
                    pytrace=False,
                )
            if run.problem:
                pytest.fail(run.problem, pytrace=False)
            _refuse_async(item)
            self._watch.look_for_modules()  # of modules that were imported meanwhile

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        run = self._run_of(item)
        if run is None or run.hub is None:
            return (yield)
        with Judge(run, _next_ident, self._is_timeout).judging(item):
            return (yield from self._judged(run, _next_ident()))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        __tracebackhide__ = True
        run = self._run_of(item)
        if run is None or run.hub is None:
            try:
                return (yield)
            except BaseException as error:
                raise unwrapped(error)
        dog = self._watchdog
        if dog is not None and dog.item is item and not dog.is_running and not dog.settings.func_only:
            # The timer was stopped when the test failed. A teardown can hang, too.
            dog.start()
        return (yield from self._judged(run, 0, self._end_leftovers))

    def _judged(self, run: Run, since: int, before: Callable[[Run], None] | None = None) -> Generator[None, object, object]:
        """Let a phase run, then fail it if tasks have failed. What a phase raises by itself comes first, and all else into its report."""
        __tracebackhide__ = True
        error: BaseException | None = None
        result: object = None
        failures: list[Failed] = []
        run.is_in_phase = True
        try:
            result = yield
        except _ENDS:
            raise
        except BaseException as raised:
            error = unwrapped(raised)
        finally:
            run.is_in_phase = False
        caught = _caught_by_case(run.item)
        if error is None and caught is None:
            error = self._swallowed(run)
        try:
            with shielded():  # a cancelled scope of a fixture is the test's affair
                if before is not None:
                    before(run)
                failures = [failed for failed in run.take_failures(since) if not self._is_timeout(failed.error)]
        except _ENDS:
            raise
        except BaseException as raised:
            self._hide_our_own(raised)
            if _is_outdone(error, caught):
                error = raised
            else:
                run.sections.append(("after that", str(raised) or repr(raised)))
        if before is None:
            error = _error_of_group(run.item, error)
        try:
            if _is_outdone(error, caught):
                if failures:
                    _drop_caught(run.item)
                    raise_failed(failures)
            else:
                run.unreported = failures
            if error is not None:
                raise error
        finally:
            del error, caught
        return result

    def _swallowed(self, run: Run) -> BaseException | None:
        """The timeout of the test that was thrown into it, and that it has kept to itself."""
        dog = self._watchdog
        return dog.untold if dog is not None and dog.item is run.item else None

    def _hide_our_own(self, error: BaseException) -> None:
        """A timeout that comes while this plugin waits, just after the test, has no line of the test's to show."""
        if self._is_timeout(error):
            error.pytrace = False  # type: ignore[attr-defined]  # as of pytest.fail(pytrace=False)

    def _end_leftovers(self, run: Run) -> None:
        left: list[Made] = []
        if "tasks" in run.leaks and not run.is_spoilt:
            assert run.hub is not None
            left += find_left(lambda: loose(run.own_tasks()), run.hub, list)
        _refuse_stragglers("this test", end_tasks(run.own_tasks))
        if run.leaks and not run.is_spoilt:
            left += self._find_left(run)
        if left:
            self._watch.reported(left)
            pytest.fail(report(run.item.nodeid, left, run.leaks, by_mark, self._is_verbose), pytrace=False)

    @property
    def _is_verbose(self) -> bool:
        return self._config.get_verbosity() > 0

    def _find_left(self, owner: Run | Fixture) -> list[Made]:
        """What else the owner leaves behind, and does not belong to a wider fixture."""
        hub = owner.hub
        assert hub is not None
        leaks = owner.leaks if isinstance(owner, Run) else self._switches.leaks
        me = current_task()

        def find() -> list[Made]:
            locks = self._watch.locks_left_by(me) if "locks" in leaks and isinstance(owner, Run) else ()
            return [*(made for made in owner.made if made.kind in leaks and made.is_left()), *locks]

        return find_left(find, hub, lambda left: self._without_those_of_fixtures(owner, left))

    def _without_those_of_fixtures(self, owner: Owner, left: Sequence[Made]) -> list[Made]:
        """Hand to wider fixtures what they refer to, and return the rest."""
        for fixture in self._fixtures:
            if left and fixture is not owner and fixture.hub is not None:
                reached = reached_from([fixture.value], (made.thing() for made in left))
                for made in [made for made in left if id(made.thing()) in reached]:
                    fixture.made.append(made)
                    if made in owner.made:
                        owner.made.remove(made)
                left = [made for made in left if id(made.thing()) not in reached]
        return list(left)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        run = self._run_of(item)
        if run is not None:
            # pytest keeps there what a TestCase has caught, until it makes the report.
            for caught in [call.excinfo, *(getattr(item, "_excinfo", None) or ())]:
                if caught is not None:
                    if self._watchdog is not None:
                        self._watchdog.untold = None
                    self._draw_tree(run, caught.value)
                    if not item.config.getoption("fulltrace"):
                        for error in (caught.value, *_told_by_doctest(caught.value)):
                            self._shorten(error)
                        _begin_with_the_task(caught)
        made = yield
        if run is not None:
            run.is_spoilt = run.is_spoilt or not made.passed
        if run is not None and run.unreported:
            failures, run.unreported = run.unreported, []
            _add_section(made, "failed tasks", "\n\n".join(in_full(failures)))
        if run is not None:
            for title, text in run.sections:
                _add_section(made, title, text)
            run.sections.clear()
            if made.failed and call.when == "call":
                for fixture in [fixture for fixture in self._fixtures if fixture.cut_short and fixture.is_used_by(item)]:
                    _add_section(made, "cancelled fixture", fixture.cut_short)
            if run.tree and made.failed:
                _add_section(made, TREE, run.tree)
            run.tree = ""
        return made

    @pytest.hookimpl(wrapper=True)
    def pytest_exception_interact(self, node: pytest.Item | pytest.Collector) -> Generator[None, object, object]:
        """pytest-timeout has stopped the timer, for a debugger. If it was a subtest that has failed, the test goes on, and its time begins anew."""
        result = yield
        dog = self._watchdog
        if dog is not None and dog.item is node and not dog.is_running and self._run is not None and self._run.is_in_phase:
            dog.start()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """It is told where the test stood, and not where coopcore has handed it on."""
        if not self._config.getoption("fulltrace"):
            self._shorten(excinfo.value)

    def _draw_tree(self, run: Run, error: BaseException) -> None:
        """For the report, while the tasks are there, and the error doesn't tell of them anyway."""
        if run.hub is not None and len(run.hub.tasks()) > 1 and not isinstance(error, Deadlock) and not self._is_timeout(error):
            run.tree = tree(run.hub, self._is_verbose)

    def _shorten(self, error: BaseException) -> None:
        """Let the traceback end where the test called, or waited, not inside of what it called here; and those of what led to it."""
        if isinstance(error, Deadlock):
            error.args = (without_machinery(str(error)),)
        chain: dict[int, BaseException] = {}
        following: BaseException | None = error
        while following is not None and id(following) not in chain:
            chain[id(following)] = following
            following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
        for link in chain.values():
            _end_outside(link.__traceback__)

    def _is_timeout(self, error: BaseException) -> bool:
        return self._watchdog is not None and self._watchdog.made(error)

    def _run_of(self, item: pytest.Item) -> Run | None:
        run = self._run
        return run if run is not None and run.item is item else None

    def _run_on_hub(self) -> Run | None:
        run = self._run
        return run if run is not None and run.hub is not None else None

    # -- fixtures -------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, object, object]:
        fixture = Fixture(fixturedef, request.node, self._hubs.current, self._is_watching)
        layer = fixture.layer
        self._fixtures.append(fixture)
        add = fixturedef.addfinalizer
        if layer is not None:
            add(layer.forget)

        def add_bound(finalizer: Callable[[], object]) -> None:
            bound = finalizer if layer is None else partial(layer.run, partial(fixture.in_its_scopes, finalizer))
            add(partial(self._hubs.call, fixture.hub, bound, f"the end of {fixture}"))

        # Finalizers run in reverse: this comes after all of the fixture's own.
        add(partial(self._hubs.call, fixture.hub, partial(self._end_fixture, fixture), f"the end of {fixture}"))
        fixturedef.addfinalizer = add_bound  # type: ignore[method-assign]  # while it is set up, and for this one object only
        if fixture.scope != "function":
            fixturedef.execute = partial(self._use, fixture, fixturedef)  # type: ignore[method-assign]  # until it is finished
        outer = OWNER.get()
        outer_scope = None if layer is None else scope_of(current_task())
        try:
            with layer.setting_up() if layer is not None else nullcontext():
                OWNER.set(fixture)
                result = yield
                if layer is not None and scope_of(current_task()) is not outer_scope:
                    fixture.take_scopes(outer_scope)
                return result
        except BaseException as error:
            fixture.is_spoilt = True
            keep_failure(fixturedef, request, error)
            raise
        finally:
            if layer is None:
                OWNER.set(outer)
            del fixturedef.addfinalizer

    def _use(self, fixture: Fixture, definition: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Any:
        """The wider fixture, which was set up before, is asked for again: in the place of ``FixtureDef.execute``, which does so by name, too."""
        value = type(definition).execute(definition, request)  # type: ignore[arg-type]  # a request of a fixture
        if fixture in self._fixtures:  # else it was set up anew, with another parameter
            self._check_use(fixture)
            if fixture.layer is not None:
                fixture.layer.apply_once()
        return value

    def _end_fixture(self, fixture: Fixture) -> None:
        self._fixtures.remove(fixture)
        fixture.forget_uses()
        if fixture.hub is not None:
            with shielded():
                self._judge_fixture(fixture, fixture.hub)

    def _judge_fixture(self, fixture: Fixture, hub: Hub) -> None:
        _refuse_stragglers(str(fixture), end_tasks(lambda: tasks_of(fixture, hub)))
        self._judge_end_of(hub)
        self._judge_what_is_left_by(fixture)

    def _judge_what_is_left_by(self, fixture: Fixture) -> None:
        if fixture.scope == "function":
            if self._run is not None:
                self._run.made += fixture.made
        elif fixture.made and not fixture.is_spoilt and (left := self._find_left(fixture)):
            pytest.fail(report(str(fixture), left, self._switches.leaks, by_ini, self._is_verbose), pytrace=False)

    def _judge_end_of(self, hub: Hub) -> None:
        """Raise for the tasks that have failed on a hub, unless a test runs there, whose teardown will."""
        __tracebackhide__ = True
        run = self._run_on_hub()
        if run is None or run.hub is not hub:
            failures = take_failures(hub, self._lost if run is None else run.lost)
            if not (self._switches if run is None else run).unjoined:
                failures = only_verdicts(failures, partial(print, file=sys.stderr))
            if failures:
                raise_failed(failures)

    def _check_use(self, fixture: Fixture) -> None:
        """A fixture whose tasks live on another hub than the test's would make the test wait for what stands still."""
        hub = self._hubs.current
        if fixture.cut_short:
            pytest.fail(f"{self._item} uses {fixture.cut_short}", pytrace=False)
        if fixture.hub is hub:
            return
        bonds = fixture.bonds(fixture.hub or self._hubs.outside_hub())
        if bonds:
            pytest.fail(
                f"{self._item} runs {_place(hub)}, but uses {fixture}, which was made {_place(fixture.hub)} and {bonds}. "
                f"Mark all tests that share the fixture alike, or give it function scope.",
                pytrace=False,
            )

    # -- pytest-timeout -------------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Settings) -> bool | None:
        if item not in self._marked:
            return None
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = Watchdog(item, settings, self._hubs, self._alarm)
        self._watchdog.start()
        return True

    @pytest.hookimpl(optionalhook=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item | pytest.Collector) -> bool | None:
        if self._watchdog is None or self._watchdog.item is not item:
            return None
        self._watchdog.cancel()
        return True


def _without_deadlock(hub: Hub) -> AbstractContextManager[object]:
    """Let no deadlock be told meanwhile, but on a virtual clock, which would stand still."""
    return Promise(hub, "whatever this test waits for") if hub.clock.pressure is time.monotonic_ns else nullcontext()


def _refuse_stragglers(whose: str, stragglers: Sequence[Task[Any]]) -> None:
    if stragglers:
        names = ", ".join(f"{task.name!r} (spawned at {task.spawned_at}, waits for {task.waiting_on or 'nothing'})" for task in stragglers)
        pytest.fail(
            f"{len(stragglers)} task(s) of {whose} did not end when they were killed: {names}. A task must let TaskExit pass, and be quick in its `finally`.",
            pytrace=False,
        )


def _place(hub: Hub | None) -> str:
    return "outside of any marked test" if hub is None else f"on {hub.name}"


def _check_coverage() -> None:
    """A tracer that doesn't know of greenlets loses its place at each switch. (Without a trace function coverage uses sys.monitoring, which does not.)"""
    coverage = sys.modules.get("coverage")
    if coverage is None or sys.gettrace() is None or (measuring := coverage.Coverage.current()) is None:
        return
    if not {"greenlet", "gevent", "eventlet"} & set(measuring.get_option("run:concurrency") or ()):
        warnings.warn(
            "coverage is not told of greenlets, and will miss lines that run in tasks. Set concurrency = greenlet in the [run] section of its configuration.",
            pytest.PytestConfigWarning,
            stacklevel=1,
        )


def _begin_with_the_task(caught: pytest.ExceptionInfo[BaseException]) -> None:
    """Let the traceback of a failed task begin in the task. Of a test function pytest leaves out what comes before, but not of a doctest."""
    if not isinstance(caught.value, TaskFailed):
        return
    entries = caught.traceback
    ours = [place for place, entry in enumerate(entries) if entry.frame.code.raw is raise_failed.__code__]
    if ours and entries[ours[-1] + 1 :]:
        caught.traceback = entries[ours[-1] + 1 :]


def _told_by_doctest(error: BaseException) -> list[BaseException]:
    """What the examples of a doctest have raised; with --doctest-continue-on-failure there can be several."""
    doctest = sys.modules.get("doctest")
    kept = getattr(error, "failures", None)
    failures = [error, *(kept if isinstance(kept, list) else ())]
    return [failure.exc_info[1] for failure in failures if doctest is not None and isinstance(failure, doctest.UnexpectedException)]


def _caught_by_case(item: pytest.Item) -> BaseException | None:
    """What a TestCase has raised, or said by a skip, and pytest keeps until it makes the report: of that, whatever the phase raises."""
    kept = getattr(item, "_excinfo", None)
    return kept[0].value if kept else None


def _is_outdone(*errors: BaseException | None) -> bool:
    """Whether a phase has ended well, or with a skip: then it is told what has failed beside it."""
    return all(error is None or is_skip(error) for error in errors)


def _drop_caught(item: pytest.Item) -> None:
    """Let the phase say how it ended, and not what a TestCase has said before."""
    kept = getattr(item, "_excinfo", None)
    if kept:
        kept.clear()


def _error_of_group(item: pytest.Item, error: BaseException | None) -> BaseException | None:
    """What the call of a test is to raise: where it ended well, or was cancelled, since a task of the fixture `task_group` has failed, that failure itself."""
    groups = [group for group in TOLD if group in getattr(item, "funcargs", {}).values() and group.failures]
    if not groups or not (error is None or getattr(error, "scope", None) is groups[0].cancel_scope):
        return error
    failures = groups[0].failures
    TOLD[groups[0]] += failures
    verdicts = [failure for failure in failures if is_verdict(failure)]
    for verdict in verdicts:
        vars(verdict).pop("__notes__", None)  # where the task was spawned: the summary would print it below the reason
    if verdicts or len(failures) == 1:
        return (*verdicts, *failures)[0]
    return BaseExceptionGroup(f"{len(failures)} failures in a TaskGroup", failures)


def _end_outside(trace: TracebackType | None) -> None:
    """Cut off the frames of coopcore and its plugins after the last one of anybody else."""
    last: TracebackType | None = None
    while trace is not None:
        if not trace.tb_frame.f_globals.get("__name__", "").startswith(_INSIDE):
            last = trace
        trace = trace.tb_next
    if last is not None:
        last.tb_next = None


def _next_ident() -> int:
    """A number greater than those of all tasks so far, and smaller than those of all to come."""
    return Task(_next_ident).ident


def _refuse_async(item: pytest.Item) -> None:
    if is_async(item):
        pytest.fail(
            f"{item.nodeid} is an `async def` test, but marked {MARK}: its body would need an event loop, and a task has none. "
            f"Write it as a plain `def` (calls may block), or leave it to an asyncio plugin: @pytest.mark.{MARK}(enabled=False).",
            pytrace=False,
        )


def _add_section(report: pytest.TestReport, title: str, text: str) -> None:
    """Into the failure itself where there is one, so that every kind of report shows it."""
    add = getattr(report.longrepr, "addsection", None)
    if add is not None:
        add(title, text)
    else:
        report.sections.append((f"{title} in {report.when}", text))
