"""Every public name of the sections: there it is, on both libraries; or here it is in the table of names that are not, with the reason."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

# What to look at, in the words of a `lib`, and its public names.
NAMES = {
    "gevent": (
        "Greenlet spawn spawn_later spawn_raw sleep idle kill killall joinall wait iwait Timeout with_timeout getcurrent get_hub GreenletExit fork reinit "
        "getswitchinterval setswitchinterval signal_handler config"
    ),
    "Greenlet(str)": (
        "get join kill start start_later ready successful value exception exc_info dead started args kwargs name minimal_ident spawning_greenlet "
        "spawning_stack spawning_stack_limit spawn_tree_locals link link_value link_exception rawlink unlink unlink_all has_links add_spawn_callback "
        "remove_spawn_callback throw loop gr_context __enter__ __exit__"
    ),
    "Timeout()": "start pending cancel close start_new seconds exception __enter__ __exit__ __lt__",
    "Event()": "is_set isSet ready set clear wait rawlink unlink linkcount hub",
    "AsyncResult()": (
        "set set_result set_exception get get_nowait result wait ready done successful value exception exc_info cancel cancelled rawlink unlink __call__"
    ),
    "SimpleQueue()": (
        "put get put_nowait get_nowait peek peek_nowait qsize __len__ empty full copy maxsize is_shutdown queue __iter__ __next__ __bool__ __class_getitem__"
    ),
    "Queue()": "task_done join shutdown unfinished_tasks put get peek __len__ copy",
    "LifoQueue()": "task_done join shutdown unfinished_tasks put get peek __len__ copy",
    "PriorityQueue()": "task_done join shutdown unfinished_tasks put get peek __len__ copy",
    "Channel()": "put get put_nowait get_nowait balance empty full qsize __iter__ __next__",
    "gevent.queue": "SimpleQueue Queue JoinableQueue LifoQueue PriorityQueue Channel Empty Full ShutDown",
    "gevent.lock": "Semaphore BoundedSemaphore RLock DummySemaphore",
    "gevent.event": "Event AsyncResult",
    "Semaphore()": "acquire release wait locked ready counter rawlink unlink linkcount __enter__ __exit__",
    "BoundedSemaphore()": "acquire release wait locked ready counter rawlink unlink linkcount __enter__ __exit__",
    "RLock()": "acquire release __enter__ __exit__",
    "DummySemaphore()": "acquire release locked __enter__ __exit__",
    "Group()": (
        "add discard start spawn join kill killone full wait_available apply apply_cb apply_async map map_cb map_async imap imap_unordered "
        "greenlet_class __len__ __contains__ __iter__"
    ),
    "Pool()": "size free_count wait_available add start full __len__ __contains__ __iter__",
    "gevent.pool": "Group Pool PoolFull",
    "gevent.local": "local all_local_dicts_for_greenlet",
    "get_hub()": (
        "loop resolver threadpool threadpool_size NOT_ERROR SYSTEM_ERROR handle_error handle_system_error print_exception exception_stream join destroy wait "
        "cancel_wait start_periodic_monitoring_thread main_hub name backend"
    ),
    "gevent.hub": "Hub Waiter GreenletExit getcurrent get_hub reinit sleep kill spawn_raw signal",
    "gevent.util": "GreenletTree format_run_info print_run_info assert_switches wrap_errors",
}
TABLE_OF = {"Greenlet(str)": "Task", "get_hub()": "Hub"}
# Of Python, where a class of gevent's need not define them to have their effect.
IMPLIED = {"__bool__"}


@functools.cache
def not_here() -> dict[str, set[str]]:
    """The names that the table of docs/from-gevent.md lists, for each place."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "from-gevent.md").read_text()
    (table,) = re.findall(r"^\| where \|.*\n\|.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    listed: dict[str, set[str]] = {}
    places: list[str] = []
    for row in table.splitlines():
        where, names, why = (cell.strip() for cell in row.strip("|").split("|"))
        assert len(why) > 2, row
        places = re.findall(r"`([\w.]+)`", where) or places
        for place in places:
            listed.setdefault(place, set()).update(re.findall(r"`([\w.]+)`", names))
    return listed


def test_gevent_is_there() -> None:
    pytest.importorskip("gevent", reason="gevent is not installed: these tests try ours alone, and cannot show that gevent does the same")


def thing(lib: Any, place: str) -> Any:
    if not place.startswith("gevent"):
        name, _, arguments = place.partition("(")
        return getattr(lib, name)(*([str] if arguments == "str)" else []))
    if not lib.ours:
        return importlib.import_module(place)
    of_the_core = place in ("gevent", "gevent.hub", "gevent.util")
    return importlib.import_module("coopcore" if of_the_core else f"coop_plugins.{place.removeprefix('gevent.')}")


@pytest.mark.parametrize("place", NAMES)
def test_names(lib: Any, place: str) -> None:
    """The list of public names."""
    found = thing(lib, place)
    missing = {name for name in NAMES[place].split() if not hasattr(found, name)} - IMPLIED
    if not lib.ours:
        assert missing == set()
    else:
        assert missing <= not_here().get(TABLE_OF.get(place, place.partition("(")[0]), set())


@pytest.mark.parametrize(("page", "heading"), [("from-gevent.md", "| here | gevent | why |"), ("pool.md", "| here | in gevent 26.9 | reason |")])
def test_every_difference_is_shown(page: str, heading: str) -> None:
    """Each row of these tables is named by a test here, which shows both outcomes; but for those of `subprocess`, which has tests of its own."""
    here = Path(__file__).parent
    (table,) = re.findall(rf"^{re.escape(heading)}\n\|.*\n((?:\|.*\n)+)", (here.parents[2] / "docs" / page).read_text(), re.MULTILINE)
    rows = [row.strip("|").split(" | ")[0].strip() for row in table.splitlines()]
    trees = [ast.parse(path.read_text()) for path in here.glob("test_*.py")]
    named = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert [row for row in rows if row not in named and "Popen" not in row] == []
