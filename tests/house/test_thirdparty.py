"""Plugins of others: a real distribution that is built, installed and run, and broken ones that must be named.

Each runs in a process of its own, which finds the distribution on PYTHONPATH as it would find it in site-packages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import coopcore.hookspecs
import coopcore.testing

pytestmark = pytest.mark.slow(reason="builds a wheel, and starts an interpreter for each broken plugin")


def run_python(*arguments: str, path: Path, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter that finds the distributions in ``path``. Variables of this project are taken from ``environment`` alone."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COOP_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**clean, **environment, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# -- coop_hello ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hello_source(tree: Path) -> Path:
    return tree / "tests" / "thirdparty" / "coop_hello"


@pytest.fixture(scope="module")
def hello(hello_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the wheel of coop_hello was installed. Nothing comes from the network."""
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling: install the extra dev")
    base = tmp_path_factory.mktemp("hello")
    source, wheels, target = base / "source", base / "wheels", base / "site"
    shutil.copytree(hello_source, source, ignore=shutil.ignore_patterns("__pycache__"))
    target.mkdir()
    built = run_python("-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), path=source)
    assert built.returncode == 0, built.stderr
    [wheel] = wheels.glob("coop_hello-*.whl")
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps", "--target")
    installed = run_python(*pip, str(target), str(wheel), path=target)
    assert installed.returncode == 0, installed.stderr
    return target


def test_hello_is_found_by_its_entry_point_and_listed(hello: Path) -> None:
    program = """
from coopcore.lowlevel import load_offer, plugins
for kind in ("backend", "timers", "primitive"):
    print(kind, *sorted(plugins().offers(kind)))
print(load_offer("primitive", "RWLock").__module__)
"""
    done = run_python("-c", program, path=hello)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["backend epoll hello selectors", "timers hello"]
    assert "RWLock" in lines[2].split()
    assert lines[3] == "coop_hello.rwlock"


def test_hello_changes_no_default_until_it_is_asked_for(hello: Path) -> None:
    program = "import coopcore; h = coopcore.get_hub(); print(type(h.backend).__module__, type(h.timers).__module__)"
    default = run_python("-c", program, path=hello).stdout.split()
    assert default[0].startswith("coop_plugins.backends.") and default[1] == "coopcore._timers"
    chosen = run_python("-c", program, path=hello, COOP_BACKEND="hello", COOP_TIMERS="hello").stdout.split()
    assert chosen == ["coop_hello.backend", "coop_hello.timers"]


@pytest.mark.timeout(180)
def test_hello_passes_the_contracts_where_it_is_installed(hello: Path, hello_source: Path, tmp_path: Path) -> None:
    shutil.copytree(hello_source / "tests", tmp_path / "tests")
    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", str(tmp_path / "tests"), path=hello, timeout=120)
    assert done.returncode == 0, done.stdout[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) > 60, done.stdout
    assert "skipped" not in done.stdout, "a contract is not kept by being left out"


@pytest.mark.timeout(300)
def test_the_eleven_programs_run_on_hello(hello: Path, tree: Path) -> None:
    assert len(list((tree / "examples").glob("[01][0-9]_*.py"))) == 11
    tests = tree / "tests" / "plugins" / "test_examples.py"
    done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), path=hello, timeout=240, COOP_BACKEND="hello")
    assert done.returncode == 0, done.stdout[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= 11, done.stdout
    assert "skipped" not in done.stdout, done.stdout


def test_hello_its_timers_run_a_program(hello: Path, tree: Path) -> None:
    program = tree / "examples" / "04_group.py"
    done = run_python(str(program), path=hello, COOP_BACKEND="hello", COOP_TIMERS="hello")
    assert (done.stderr, done.stdout.split()[-9:]) == ("", ["bar"] * 3 + ["foo"] * 3 + ["fizz"] * 3)


def test_hello_is_what_an_author_could_write(hello_source: Path) -> None:
    backend = (hello_source / "coop_hello" / "backend.py").read_text()
    assert len(backend.splitlines()) < 150
    assert re.findall(r"^class \w+(.*):$", backend, re.MULTILINE) == [""], "its backend inherits nothing"
    documented = {"coopcore", "coopcore.lowlevel", "coopcore.testing", "coopcore.errors", "coopcore.protocols"}
    for file in hello_source.rglob("*.py"):
        text = file.read_text()
        imported = set(re.findall(r"^\s*(?:from|import) (coop(?:core|_plugins|_pytest)[\w.]*)", text, re.MULTILINE))
        assert imported <= documented, f"{file.name} imports {imported - documented}"


def test_the_guide_shows_the_files_word_for_word(hello_source: Path, tree: Path) -> None:
    guide = (tree / "plugins" / "README.md").read_text()
    shown = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)\n```$", guide, re.MULTILINE | re.DOTALL))
    expected = {"pyproject.toml", "coop_hello/plugin.py", "coop_hello/backend.py", "coop_hello/timers.py", "coop_hello/rwlock.py", "tests/test_hello.py"}
    assert set(shown) == expected
    for name, text in shown.items():
        assert text + "\n" == (hello_source / name).read_text(), f"plugins/README.md and coop_hello differ in {name}"


def test_the_guide_names_every_seam_and_contract(tree: Path) -> None:
    guide = (tree / "plugins" / "README.md").read_text()
    missing = [name for name in dir(coopcore.testing) if name.endswith("Contract") and f"`testing.{name}`" not in guide]
    assert not missing
    hooks = [name for name in vars(coopcore.hookspecs) if name.startswith("coop_") and name not in ("coop_started", "coop_stopping", "coop_task_failed")]
    assert not [name for name in hooks if f"`{name}`" not in guide]


# -- distributions that are broken --------------------------------------------------------------------------------------


@dataclass
class Site:
    """A directory of distributions that were put there by hand."""

    path: Path

    def add(self, dist: str, entry_points: str, **modules: str) -> None:
        """A distribution with these lines in the group ``coopcore`` and these modules."""
        info = self.path / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[coopcore]\n{entry_points}\n")
        for name, text in modules.items():
            (self.path / f"{name}.py").write_text(text)

    def run(self, program: str = "import coopcore; coopcore.run(print, 'fine')", **environment: str) -> subprocess.CompletedProcess[str]:
        return run_python("-c", program, path=self.path, **environment)

    def error(self, program: str = "import coopcore; coopcore.run(print, 'fine')", **environment: str) -> str:
        """The last line of what the program died of: the kind of error and its message."""
        done = self.run(program, **environment)
        assert done.returncode == 1 and not done.stdout, f"it should have died: {done}"
        return done.stderr.splitlines()[-1]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


HEAD = "from coopcore.lowlevel import Offer, hookimpl\n"


def offering(name: str, target: str, more: str = "") -> str:
    return f"{HEAD}@hookimpl\ndef coop_backends():\n    return [Offer({name!r}, {target!r}, 'for a test'{more})]\n"


def test_a_plugin_that_fails_to_import(site: Site) -> None:
    site.add("broken-dist", "broken = broken_plugin", broken_plugin="import not_there")
    assert site.error() == (
        "coopcore.errors.PluginLoadError: plugin 'broken' of distribution 'broken-dist' could not be loaded from 'broken_plugin': "
        "ModuleNotFoundError: No module named 'not_there'. Reinstall or upgrade broken-dist, or go on without it: COOP_DISABLE_PLUGINS=broken."
    )


@pytest.mark.parametrize("switch", ["broken", "broken-dist", "another, broken"])
def test_a_plugin_is_turned_off_by_its_name_or_its_distributions(site: Site, switch: str) -> None:
    site.add("broken-dist", "broken = broken_plugin", broken_plugin="import not_there")
    done = site.run(COOP_DISABLE_PLUGINS=switch)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_the_cause_of_a_failed_import_is_shown(site: Site) -> None:
    site.add("broken-dist", "broken = broken_plugin", broken_plugin="import not_there")
    assert 'broken_plugin.py", line 1' in site.run().stderr


def test_two_plugins_offer_one_name(site: Site) -> None:
    for number in ("one", "two"):
        site.add(f"dist-{number}", f"{number} = plugin_{number}", **{f"plugin_{number}": offering("same", "x:y")})
    message = site.error()
    assert re.fullmatch(
        r"coopcore\.errors\.OfferConflictError: plugins '(one|two)' \(of 'dist-\1'\) and '(one|two)' \(of 'dist-\2'\) both offer a backend named 'same'\. "
        r"Turn one off: COOP_DISABLE_PLUGINS=\1 or COOP_DISABLE_PLUGINS=\2\.",
        message,
    ), message
    assert site.run(COOP_DISABLE_PLUGINS="two").stdout == "fine\n"


def test_a_plugin_offers_the_name_of_a_built_in_backend(site: Site) -> None:
    site.add("dist-one", "one = plugin_one", plugin_one=offering("epoll", "x:y"))
    message = site.error()
    assert "both offer a backend named 'epoll'" in message and "'coopcore'" in message and "'dist-one'" in message
    assert "COOP_DISABLE_PLUGINS=one" in message


def test_two_distributions_claim_one_plugin_name(site: Site) -> None:
    for number in ("one", "two"):
        site.add(f"dist-{number}", f"same = plugin_{number}", **{f"plugin_{number}": f"{HEAD}@hookimpl\ndef coop_clocks(): return []\n"})
    message = site.error()
    assert message.startswith("coopcore.errors.OfferConflictError: two distributions, ") and "the plugin 'same'" in message
    assert "'dist-one'" in message and "'dist-two'" in message
    assert site.run(COOP_DISABLE_PLUGINS="dist-two").stdout == "fine\n"


def test_two_distributions_ship_one_import_package(site: Site) -> None:
    site.add("dist-one", "one = shared_package", shared_package=f"{HEAD}@hookimpl\ndef coop_clocks(): return []\n")
    site.add("dist-two", "two = shared_package")
    message = site.error()
    assert message.startswith("coopcore.errors.OfferConflictError: two distributions, ") and "the import package 'shared_package'" in message
    assert "'dist-one'" in message and "'dist-two'" in message and "COOP_DISABLE_PLUGINS=dist-" in message
    assert site.run(COOP_DISABLE_PLUGINS="two").stdout == "fine\n"


def test_a_plugin_built_for_a_newer_interface(site: Site) -> None:
    site.add("newer-dist", "newer = newer_plugin", newer_plugin="COOPCORE_INTERFACE = 99")
    assert re.fullmatch(
        r"coopcore\.errors\.InterfaceError: plugin 'newer' of 'newer-dist' is built for interface 99 of coopcore; this coopcore has interface \d+\. "
        r"Upgrade coopcore, install an older release of the plugin, or turn it off with COOP_DISABLE_PLUGINS=newer\.",
        site.error(),
    )


def test_a_plugin_that_takes_an_argument_of_a_newer_hook(site: Site) -> None:
    site.add("newer-dist", "newer = newer_plugin", newer_plugin=f"{HEAD}@hookimpl\ndef coop_started(hub, mood): pass\n")
    message = site.run().stderr  # of several lines: pluggy's own words are among them
    assert "coopcore.errors.InterfaceError: plugin 'newer' of distribution 'newer-dist' does not fit the hooks of this coopcore (interface " in message
    assert message.endswith("It may be built for a newer one: upgrade coopcore, or turn it off with COOP_DISABLE_PLUGINS=newer.\n")
    assert site.run(COOP_DISABLE_PLUGINS="newer").stdout == "fine\n"


def test_an_offer_built_for_a_newer_interface_matters_when_it_is_chosen(site: Site) -> None:
    site.add("newer-dist", "newer = newer_plugin", newer_plugin=offering("future", "x:y", ", interface=99"))
    assert site.run().stdout == "fine\n"
    message = site.error(COOP_BACKEND="future")
    assert message.startswith(
        "coopcore.errors.InterfaceError: backend 'future' of plugin 'newer' of distribution 'newer-dist' is built for interface 99 "
        "of coopcore; this coopcore has"
    )


def test_a_misspelt_hook(site: Site) -> None:
    site.add("misspelt-dist", "misspelt = misspelt_plugin", misspelt_plugin=f"{HEAD}@hookimpl\ndef coop_backend(): return []\n")
    message = site.error()
    assert message.startswith(
        "coopcore.errors.InterfaceError: plugin 'misspelt' of distribution 'misspelt-dist' implements a hook that coopcore does not have: "
    )
    assert "coop_backend" in message
    assert message.endswith("Check its spelling against coopcore.hookspecs, or turn the plugin off with COOP_DISABLE_PLUGINS=misspelt.")


def test_a_hook_that_raises(site: Site) -> None:
    site.add("raising-dist", "raising = raising_plugin", raising_plugin=f"{HEAD}@hookimpl\ndef coop_backends(): return [1 / 0]\n")
    assert site.error() == (
        "coopcore.errors.PluginError: plugin 'raising' of distribution 'raising-dist' failed in coop_backends(): ZeroDivisionError: division by zero. "
        "Turn it off with COOP_DISABLE_PLUGINS=raising."
    )


def test_a_hook_that_returns_no_offers(site: Site) -> None:
    site.add("wrong-dist", "wrong = wrong_plugin", wrong_plugin=f"{HEAD}@hookimpl\ndef coop_backends(): return ['epoll']\n")
    message = site.error()
    assert message.startswith(
        "coopcore.errors.InterfaceError: plugin 'wrong' of distribution 'wrong-dist' returned 'epoll' from coop_backends(), "
        "where coopcore.lowlevel.Offer objects are wanted."
    )
    assert message.endswith("COOP_DISABLE_PLUGINS=wrong.")


def test_a_hook_that_returns_an_offer_bare(site: Site) -> None:
    site.add("bare-dist", "bare = bare_plugin", bare_plugin=f"{HEAD}@hookimpl\ndef coop_backends(): return Offer('hello', 'a:b', '')\n")
    assert site.error() == (
        "coopcore.errors.InterfaceError: plugin 'bare' of distribution 'bare-dist' returned "
        "Offer(name='hello', target='a:b', summary='', interface=1, replaces='') from coop_backends(), "
        "where a list of coopcore.lowlevel.Offer objects is wanted. Its hook is to return a list: [Offer(...)]. "
        "Turn it off with COOP_DISABLE_PLUGINS=bare."
    )


def test_a_hook_without_its_mark(site: Site) -> None:
    site.add("unmarked-dist", "unmarked = unmarked_plugin", unmarked_plugin=f"{HEAD}def coop_backends(): return []\n@hookimpl\ndef coop_clocks(): return []\n")
    assert site.error() == (
        "coopcore.errors.InterfaceError: plugin 'unmarked' of distribution 'unmarked-dist' has coop_backends without the mark @coopcore.hookimpl, "
        "so that would never be called. Mark it, or turn the plugin off with COOP_DISABLE_PLUGINS=unmarked."
    )


def test_a_plugin_without_any_hook(site: Site) -> None:
    site.add("empty-dist", "empty = empty_plugin", empty_plugin=HEAD)
    message = site.error()
    assert message.startswith("coopcore.errors.InterfaceError: plugin 'empty' of distribution 'empty-dist' is <module 'empty_plugin' from ")
    assert "which implements no hook: no function in it is marked @coopcore.hookimpl. Mark those that are hooks, let the entry point name" in message
    assert message.endswith(", or turn the plugin off with COOP_DISABLE_PLUGINS=empty.")


def test_a_target_without_an_attribute(site: Site) -> None:
    site.add("half-dist", "half = half_plugin", half_plugin=f"{HEAD}@hookimpl\ndef coop_backends(): return [Offer('half', 'half_plugin', '')]\n")
    assert site.error(COOP_BACKEND="half") == (
        "coopcore.errors.PluginLoadError: backend 'half' of plugin 'half' of distribution 'half-dist' has the target 'half_plugin', which names no attribute: "
        "write package.module:attribute. Choose another backend, or turn the plugin off with COOP_DISABLE_PLUGINS=half."
    )


def test_a_tracer_that_lacks_methods(site: Site) -> None:
    site.add("poor-dist", "poor = poor_plugin", poor_plugin=f"{HEAD}@hookimpl\ndef coop_tracers(hub): return [3]\n")
    assert site.error().endswith("leave the body empty for what is not of interest. Turn it off with COOP_DISABLE_PLUGINS=poor.")


@pytest.mark.parametrize("first", ["coopcore.spawn(print)", "coopcore.sleep(0)", "coopcore.current_task()", "coopcore.sleep(1)"])
def test_an_error_of_the_first_hub_is_told_without_our_own_look_up(first: str, site: Site) -> None:
    site.add("raising-dist", "raising = raising_plugin", raising_plugin=f"{HEAD}@hookimpl\ndef coop_backends(): return [1 / 0]\n")
    done = site.run(f"import coopcore; {first}")
    assert "ZeroDivisionError: division by zero\n\nThe above exception was the direct cause" in done.stderr
    assert "AttributeError" not in done.stderr and "During handling" not in done.stderr


def test_an_unknown_backend(site: Site) -> None:
    expected = (
        "coopcore.errors.UnknownOfferError: there is no backend named 'epol'; on offer are: epoll, selectors. "
        "Check the spelling where it was asked for (an argument, a mark, or the variable COOP_BACKEND), or install the distribution that offers it."
    )
    assert site.error(COOP_BACKEND="epol") == expected
    assert site.error("import coopcore; coopcore.run(print, backend='epol')") == expected


@pytest.mark.parametrize(("target", "cause"), [("not_there:Backend", "ModuleNotFoundError: "), ("os:Backend", "AttributeError: ")])
def test_an_offer_whose_target_is_missing(site: Site, target: str, cause: str) -> None:
    site.add("missing-dist", "missing = missing_plugin", missing_plugin=offering("nowhere", target))
    assert site.run().stdout == "fine\n"
    message = site.error(COOP_BACKEND="nowhere")
    assert message.startswith(
        f"coopcore.errors.PluginLoadError: backend 'nowhere' of plugin 'missing' of distribution 'missing-dist' could not be imported from '{target}': {cause}"
    )
    assert message.endswith("Choose another backend, or turn the plugin off with COOP_DISABLE_PLUGINS=missing.")


def test_a_backend_that_lacks_methods(site: Site) -> None:
    half = "class Half:\n    edge_triggered = False\n    def poll(self, timeout): return ()\n    def close(self): pass\n"
    site.add("half-dist", "half = half_plugin", half_plugin=offering("half", "half_plugin:Half") + half)
    message = site.error(COOP_BACKEND="half")
    assert message.startswith("coopcore.errors.InterfaceError: the backend 'half' of plugin 'half' of distribution 'half-dist' is <half_plugin.Half object at ")
    assert "which lacks" in message and message.endswith("a contract to test it in coopcore.testing. Turn it off with COOP_DISABLE_PLUGINS=half.")
    if sys.version_info >= (3, 12):
        assert "lacks fileno, unwatch, wake, watch of coopcore.protocols.Backend" in message


def test_every_built_in_plugin_may_be_turned_off(site: Site) -> None:
    message = site.error(COOP_DISABLE_PLUGINS="coop_plugins")
    assert message.startswith("coopcore.errors.UnknownOfferError: no default backend (epoll or selectors) is on offer; there are: none. ")
    assert "COOP_DISABLE_PLUGINS" in message
