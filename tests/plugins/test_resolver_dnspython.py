"""The resolver on dnspython, against a name server of the test's own: answers, search lists, tries, truncation, failures, kills; the hosts file."""

from __future__ import annotations

import errno
import os
import socket as stdlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coopcore
from coop_plugins.resolver import current_resolver
from coopcore import Timeout, get_hub, sleep, spawn
from coopcore.errors import PluginLoadError
from coopcore.testing import ResolverContract

pytest.importorskip("dns", reason="the extra dns is not installed")

from coop_plugins.resolver import _order, dnspython
from coop_plugins.resolver.dnspython import DnsResolver

from .dns_server import DnsServer

BACKENDS = [os.environ["COOP_BACKEND"]] if os.environ.get("COOP_BACKEND") else ["epoll", "selectors"]
Run = Callable[[Callable[[], Any]], Any]
TCP = stdlib.SOCK_STREAM

RECORDS = {
    "www.test.": {"A": ["192.0.2.1", "192.0.2.2"]},
    "six.test.": {"AAAA": ["2001:db8::1"]},
    "both.test.": {"A": ["192.0.2.3"], "AAAA": ["2001:db8::3"]},
    "alias.test.": {"CNAME": ["alias2.test."]},
    "alias2.test.": {"CNAME": ["both.test."]},
    "dangling.test.": {"CNAME": ["nowhere.test."]},
    "nodata.test.": {"TXT": ["x"]},
    "servfail.test.": "servfail",
    "refused.test.": "refused",
    "silent.test.": "silent",
    "forged.test.": "forged",
    "garbage.test.": "garbage",
    "late.test.": {"A": ["192.0.2.5"], "once silent": True},
    "big.test.": {"A": [f"192.0.2.{number}" for number in range(1, 100)], "truncated": True},
    "short.dom.test.": {"A": ["192.0.2.10"]},
    "other.second.test.": {"A": ["192.0.2.11"]},
    "a.b.dom.test.": {"A": ["192.0.2.12"]},
    "half.dom.test.": {"TXT": ["x"]},
    "failing.dom.test.": "servfail",
    "failing.second.test.": {"A": ["192.0.2.14"]},
    "xn--bcher-kva.test.": {"A": ["192.0.2.13"]},
    "1.2.0.192.in-addr.arpa.": {"PTR": ["www.test."]},
    "8.2.0.192.in-addr.arpa.": {"TXT": ["x"]},
    "9.2.0.192.in-addr.arpa.": "servfail",
}
HOSTS = """
127.0.0.1 localhost
10.0.0.1 full.hosts Brief second  # a comment
10.0.0.2 full.hosts
::1 loop.hosts
2001:db8::7 both.hosts
10.0.0.7 both.hosts
::ffff:10.0.0.8 mapped.hosts
no.address nobody.hosts
10.0.0.9
"""


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(RECORDS) as made:
        yield made


@pytest.fixture
def asked(server: DnsServer) -> list[tuple[str, str, str]]:
    server.asked.clear()
    return server.asked


@pytest.fixture
def hosts(tmp_path: Path) -> str:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    return str(path)


Make = Callable[..., DnsResolver]


@pytest.fixture
def make(server: DnsServer, hosts: str) -> Make:
    def make(**more: Any) -> DnsResolver:
        return DnsResolver(["127.0.0.1"], **{"port": server.port, "hosts": hosts, "search": ["dom.test", "second.test"], **more})

    return make


@pytest.fixture(params=BACKENDS)
def on(request: pytest.FixtureRequest) -> Run:
    def run(body: Callable[[], Any]) -> Any:
        return coopcore.run(body, backend=request.param)

    return run


class TestDnsResolver(ResolverContract):
    def make(self) -> DnsResolver:
        return DnsResolver(["127.0.0.1"], port=1)


def addresses(found: list[tuple[Any, ...]]) -> list[str]:
    return [entry[4][0] for entry in found]


def number_of(call: Callable[[], object]) -> int | None:
    """That of the error which it raises."""
    with pytest.raises(OSError, match=r"\w") as caught:
        call()
    assert type(caught.value) in (stdlib.gaierror, stdlib.herror)
    return caught.value.errno


# -- answers --------------------------------------------------------------------------------------------------------------


def test_addresses_of_a_name(on: Run, make: Make, asked: list[Any]) -> None:
    @on
    def body() -> None:
        ours = make()
        assert ours.getaddrinfo("www.test", 80, stdlib.AF_INET, TCP) == [
            (stdlib.AF_INET, TCP, 6, "", ("192.0.2.1", 80)),
            (stdlib.AF_INET, TCP, 6, "", ("192.0.2.2", 80)),
        ]
        assert asked == [("www.test.", "A", "udp")]
        assert ours.getaddrinfo("six.test", "http", 0, TCP) == [(stdlib.AF_INET6, TCP, 6, "", ("2001:db8::1", 80, 0, 0))]
        assert sorted(asked[1:]) == [("six.test.", "A", "udp"), ("six.test.", "AAAA", "udp")]
        both = ours.getaddrinfo("both.test", 80, 0, stdlib.SOCK_DGRAM)
        assert sorted(addresses(both)) == ["192.0.2.3", "2001:db8::3"]
        assert {entry[1:3] for entry in both} == {(stdlib.SOCK_DGRAM, 17)}
        assert len(ours.getaddrinfo("www.test", None)) == 6, "of each address three types"
        assert addresses(ours.getaddrinfo(b"WWW.Test.", 80, 0, TCP)) == ["192.0.2.1", "192.0.2.2"]
        assert addresses(ours.getaddrinfo("bücher.test", 80, 0, TCP)) == ["192.0.2.13"]
        assert ours.gethostbyname("both.test") == "192.0.2.3"
        assert ours.gethostbyname_ex("www.test") == ("www.test", [], ["192.0.2.1", "192.0.2.2"])


def test_aliases(on: Run, make: Make) -> None:
    @on
    def body() -> None:
        ours = make()
        found = ours.getaddrinfo("alias.test", 80, stdlib.AF_INET, TCP, 0, stdlib.AI_CANONNAME)
        assert found == [(stdlib.AF_INET, TCP, 6, "both.test", ("192.0.2.3", 80))]
        assert ours.gethostbyname_ex("alias.test") == ("both.test", ["alias.test", "alias2.test"], ["192.0.2.3"])
        assert [entry[3] for entry in ours.getaddrinfo("WWW.test", 80, 0, TCP, 0, stdlib.AI_CANONNAME)] == ["WWW.test", ""]


def test_flags(on: Run, make: Make) -> None:
    @on
    def body() -> None:
        ours = make()

        def six(name: str, flags: int) -> list[str]:
            return addresses(ours.getaddrinfo(name, 80, stdlib.AF_INET6, TCP, 0, flags))

        assert six("www.test", stdlib.AI_V4MAPPED) == ["::ffff:192.0.2.1", "::ffff:192.0.2.2"]
        assert six("both.test", stdlib.AI_V4MAPPED) == ["2001:db8::3"]
        assert sorted(six("both.test", stdlib.AI_V4MAPPED | stdlib.AI_ALL)) == ["2001:db8::3", "::ffff:192.0.2.3"]
        assert number_of(lambda: ours.getaddrinfo("www.test", 80, flags=stdlib.AI_NUMERICHOST)) == stdlib.EAI_NONAME
        assert number_of(lambda: ours.getaddrinfo("www.test", "http", flags=stdlib.AI_NUMERICSERV)) == stdlib.EAI_NONAME


def test_the_families_that_this_machine_has(on: Run, make: Make, asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnspython, "_is_configured", lambda family: family == stdlib.AF_INET)

    @on
    def body() -> None:
        ours = make()
        flag = stdlib.AI_ADDRCONFIG
        assert addresses(ours.getaddrinfo("both.test", 80, 0, TCP, 0, flag)) == ["192.0.2.3"]
        assert addresses(ours.getaddrinfo("both.test", 80, stdlib.AF_INET, TCP, 0, flag)) == ["192.0.2.3"]
        assert number_of(lambda: ours.getaddrinfo("both.test", 80, stdlib.AF_INET6, TCP, 0, flag)) == stdlib.EAI_NONAME
        assert {kind for _, kind, _ in asked} == {"A"}
        monkeypatch.setattr(dnspython, "_is_configured", lambda family: False)
        assert len(ours.getaddrinfo("both.test", 80, 0, TCP, 0, flag)) == 2


def test_which_families_this_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for family, address in ((stdlib.AF_INET, "127.0.0.1"), (stdlib.AF_INET6, "::1")):
        try:
            expected = bool(stdlib.getaddrinfo(address, 80, family, 0, 0, stdlib.AI_ADDRCONFIG))
        except stdlib.gaierror:
            expected = False
        assert dnspython._is_configured(family) is expected

    def none(*args: Any) -> Any:
        raise stdlib.gaierror(stdlib.EAI_NONAME, "no address of that family")

    monkeypatch.setattr("coop_plugins.resolver._system.getaddrinfo", none)
    assert not dnspython._is_configured(stdlib.AF_INET)


def test_names_of_addresses(on: Run, make: Make) -> None:
    @on
    def body() -> None:
        ours = make()
        assert ours.gethostbyaddr("192.0.2.1") == ("www.test", [], ["192.0.2.1"])
        assert ours.gethostbyaddr("www.test") == ("www.test", [], ["192.0.2.1"])
        assert ours.getnameinfo(("192.0.2.1", 80), 0) == ("www.test", "http")
        assert ours.getnameinfo(("192.0.2.1", 80), stdlib.NI_NUMERICSERV) == ("www.test", "80")
        assert ours.getnameinfo(("192.0.2.1", 80), stdlib.NI_NUMERICHOST) == ("192.0.2.1", "http")
        assert ours.getnameinfo(("192.0.2.77", 80), 0) == ("192.0.2.77", "http")
        assert number_of(lambda: ours.getnameinfo(("192.0.2.77", 80), stdlib.NI_NAMEREQD)) == stdlib.EAI_NONAME
        assert number_of(lambda: ours.getnameinfo(("192.0.2.8", 80), stdlib.NI_NAMEREQD)) == stdlib.EAI_NONAME
        assert number_of(lambda: ours.getnameinfo(("192.0.2.9", 80), 0)) == stdlib.EAI_AGAIN
        assert [number_of(lambda last=last: ours.gethostbyaddr(f"192.0.2.{last}")) for last in (77, 9, 8)] == [1, 2, 4]  # type: ignore[misc]  # lambdas have no types


def test_a_name_without_its_domain(on: Run, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    @on
    def body() -> None:
        monkeypatch.setattr(stdlib, "gethostname", lambda: "here.test")
        assert make().getnameinfo(("192.0.2.1", 80), stdlib.NI_NOFQDN) == ("www", "http")
        monkeypatch.setattr(stdlib, "gethostname", lambda: "here.elsewhere")
        assert make().getnameinfo(("192.0.2.1", 80), stdlib.NI_NOFQDN) == ("www.test", "http")


def test_answers_are_kept(on: Run, make: Make, asked: list[Any]) -> None:
    @on
    def body() -> None:
        ours = make()
        for _ in range(3):
            assert ours.gethostbyname("www.test") == "192.0.2.1"
            assert number_of(lambda: ours.gethostbyname("nowhere.test.")) == stdlib.EAI_NONAME
        assert asked == [("www.test.", "A", "udp"), ("nowhere.test.", "A", "udp")]


# -- failures and tries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("nowhere.test", stdlib.EAI_NONAME),
        ("nowhere", stdlib.EAI_NONAME),
        ("nodata.test", stdlib.EAI_NODATA),
        ("half", stdlib.EAI_NODATA),
        ("dangling.test", stdlib.EAI_NONAME),
        ("servfail.test", stdlib.EAI_AGAIN),
        ("refused.test", stdlib.EAI_AGAIN),
        (b"x" * 64, stdlib.EAI_NONAME),
        (b"x." * 130, stdlib.EAI_NONAME),
        (b"a..b", stdlib.EAI_NONAME),
    ],
)
@pytest.mark.parametrize("family", [stdlib.AF_UNSPEC, stdlib.AF_INET])
def test_invariant_5_errors_have_the_numbers_of_the_system(on: Run, make: Make, name: Any, number: int, family: int) -> None:
    @on
    def body() -> None:
        assert number_of(lambda: make().getaddrinfo(name, 80, family)) == number
        if isinstance(name, str):
            assert number_of(lambda: make().gethostbyname(name)) == number
            assert number_of(lambda: make().gethostbyname_ex(name)) == number


def test_invariant_5_a_server_that_is_silent(on: Run, make: Make) -> None:
    @on
    def body() -> None:
        ours = make(timeout=0.01, lifetime=0.03)
        for family in (stdlib.AF_UNSPEC, stdlib.AF_INET):
            assert number_of(lambda: ours.getaddrinfo("silent.test", 80, family)) == stdlib.EAI_AGAIN  # noqa: B023 - called in the loop
        assert number_of(lambda: ours.getaddrinfo("garbage.test", 80)) == stdlib.EAI_AGAIN


def test_invariant_5_no_server(on: Run, hosts: str) -> None:
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

    @on
    def body() -> None:
        ours = DnsResolver(["127.0.0.1"], port=port, hosts=hosts)
        assert number_of(lambda: ours.getaddrinfo("www.test", 80)) == stdlib.EAI_AGAIN


def test_it_asks_again_and_the_next_server(on: Run, make: Make, asked: list[Any], server: DnsServer) -> None:
    @on
    def body() -> None:
        assert make(timeout=0.3, lifetime=15).gethostbyname("late.test") == "192.0.2.5"
        assert len(asked) >= 2 and set(asked) == {("late.test.", "A", "udp")}, "twice, or more often if the machine is slow"
        ours = make(timeout=0.3, lifetime=15)
        ours._nameservers = ["127.0.0.2", "127.0.0.1"]  # nobody listens at the first
        assert ours.gethostbyname("www.test") == "192.0.2.1"


def test_what_a_stranger_sends_is_no_answer(on: Run, make: Make) -> None:
    @on
    def body() -> None:
        assert make().gethostbyname("forged.test") == "192.0.2.66", "the answer with the right number"


def test_a_truncated_answer_is_asked_for_by_tcp(on: Run, make: Make, asked: list[Any]) -> None:
    @on
    def body() -> None:
        assert len(make().getaddrinfo("big.test", 80, stdlib.AF_INET, TCP)) == 99
        assert asked == [("big.test.", "A", "udp"), ("big.test.", "A", "tcp")]


def test_a_server_without_tcp(on: Run, hosts: str) -> None:
    import dns.flags
    import dns.message

    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def answer() -> None:
            wire, address = udp.recvfrom(4096)
            response = dns.message.make_response(dns.message.from_wire(wire))
            response.flags |= dns.flags.TC
            udp.sendto(response.to_wire(), address)

        thread = threading.Thread(target=answer)
        thread.start()

        @on
        def body() -> None:
            ours = DnsResolver(["127.0.0.1"], port=udp.getsockname()[1], hosts=hosts)
            if thread.is_alive():
                assert number_of(lambda: ours.gethostbyname("www.test.")) == stdlib.EAI_AGAIN

        thread.join(10)


# -- search lists ---------------------------------------------------------------------------------------------------------


def test_the_search_list(on: Run, make: Make, asked: list[Any]) -> None:
    @on
    def body() -> None:
        ours = make()
        assert ours.gethostbyname("short") == "192.0.2.10"
        assert ours.gethostbyname("other") == "192.0.2.11"
        assert ours.gethostbyname("a.b") == "192.0.2.12"
        assert ours.gethostbyname("failing") == "192.0.2.14", "a server's failure is no reason not to go on"
        assert [name for name, _, _ in asked] == [
            *("short.dom.test.",),
            *("other.dom.test.", "other.second.test."),
            *("a.b.", "a.b.dom.test."),
            *("failing.dom.test.", "failing.second.test."),
        ]
        asked.clear()
        assert number_of(lambda: ours.gethostbyname("short.")) == stdlib.EAI_NONAME
        assert [name for name, _, _ in asked] == ["short."], "a dot at the end: that name and no other"
        assert number_of(lambda: ours.gethostbyname("x" * 63 + "." + "y" * 63 + "." + "z" * 63 + "." + "w" * 60)) == stdlib.EAI_NONAME, (
            "too long to be searched for"
        )


def test_the_files_of_the_system(on: Run, server: DnsServer, tmp_path: Path) -> None:
    conf, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    conf.write_text("nameserver 127.0.0.1\nsearch dom.test\noptions ndots:2 timeout:1\n")
    hosts.write_text("10.0.0.1 one.hosts\n")

    @on
    def body() -> None:
        ours = DnsResolver(port=server.port, hosts=str(hosts), resolv_conf=str(conf))
        server.asked.clear()
        assert ours.gethostbyname("a.b") == "192.0.2.12"
        assert [name for name, _, _ in server.asked] == ["a.b.dom.test."], "ndots: one dot is too few"
        assert ours.gethostbyname("one.hosts") == "10.0.0.1"
        conf.write_text("nameserver 127.0.0.1\nsearch second.test\n")
        hosts.write_text("10.0.0.22 one.hosts\n")
        assert ours.gethostbyname("one.hosts") == "10.0.0.1", "they are not looked at each time"
        ours._files._look_at = 0
        assert ours.gethostbyname("one.hosts") == "10.0.0.22"
        assert ours.gethostbyname("other") == "192.0.2.11"


def test_files_that_are_not_there(on: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @on
    def body() -> None:
        ours = DnsResolver(port=1, hosts=str(tmp_path / "none"), resolv_conf=str(tmp_path / "none"))
        assert number_of(lambda: ours.gethostbyname("localhost.")) == stdlib.EAI_AGAIN
        assert ours._dns is not None and [str(one) for one in ours._dns.nameservers] == ["127.0.0.1"]


def test_many_ask_while_the_files_are_read(on: Run, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    go = threading.Event()
    real = dnspython._text_of

    def slow(path: str) -> str:
        read.append(1)
        assert go.wait(10)
        return real(path)

    monkeypatch.setattr(dnspython, "_text_of", slow)

    @on
    def body() -> None:
        ours = make()
        tasks = [spawn(ours.gethostbyname, "full.hosts") for _ in range(5)]
        while not read:
            sleep(0)
        tasks[0].kill()
        while len(read) < 2:
            sleep(0)  # the next one reads them
        go.set()
        assert {task.get(timeout=5) for task in tasks[1:]} == {"10.0.0.1"}
        assert len(read) == 2


# -- the hosts file -------------------------------------------------------------------------------------------------------


def test_names_in_the_hosts_file(on: Run, make: Make, asked: list[Any]) -> None:
    @on
    def body() -> None:
        ours = make()
        assert addresses(ours.getaddrinfo("full.hosts", 80, 0, TCP)) == ["10.0.0.1", "10.0.0.2"]
        assert ours.gethostbyname("BRIEF") == "10.0.0.1"
        assert ours.gethostbyname_ex("second") == ("full.hosts", ["Brief", "second"], ["10.0.0.1"])
        assert ours.getaddrinfo("second", 80, 0, TCP, 0, stdlib.AI_CANONNAME)[0][3] == "full.hosts"
        assert ours.gethostbyname("loop.hosts") == "127.0.0.1"
        assert sorted(addresses(ours.getaddrinfo("both.hosts", 80, 0, TCP))) == ["10.0.0.7", "2001:db8::7"]
        assert addresses(ours.getaddrinfo("both.hosts", 80, stdlib.AF_INET6, TCP)) == ["2001:db8::7"]
        assert ours.gethostbyname("mapped.hosts") == "10.0.0.8"
        assert ours.gethostbyaddr("10.0.0.1") == ("full.hosts", ["Brief", "second"], ["10.0.0.1"])
        assert ours.getnameinfo(("10.0.0.2", 80), 0) == ("full.hosts", "http")
        assert asked == []
        assert number_of(lambda: ours.gethostbyname("nobody.hosts.")) == stdlib.EAI_NONAME


# -- the hub, kills, descriptors ------------------------------------------------------------------------------------------


def test_invariant_1_what_is_numeric_asks_nobody(on: Run, make: Make, asked: list[Any]) -> None:
    @on
    def body() -> None:
        ours = make()
        for host in ("127.0.0.1", "127.1", "::1", "fe80::1%lo", None):
            assert ours.getaddrinfo(host, "http") == stdlib.getaddrinfo(host, "http")
        assert ours.gethostbyname("127.0.0.1") == "127.0.0.1"
        assert ours.gethostbyname("") == "0.0.0.0"
        assert ours.gethostbyname("<broadcast>") == "255.255.255.255"
        assert ours.gethostbyname_ex("10.1.1.1") == ("10.1.1.1", [], ["10.1.1.1"])
        for bad in ("nosuch", 1.5):
            with pytest.raises(OSError, match=r"\w") as mine:
                ours.getaddrinfo("www.test", bad)  # type: ignore[arg-type]  # that is the point
            with pytest.raises(OSError, match=r"\w") as theirs:
                stdlib.getaddrinfo("127.0.0.1", bad)  # type: ignore[arg-type]  # that is the point
            assert (type(mine.value), str(mine.value)) == (type(theirs.value), str(theirs.value))
        with pytest.raises(UnicodeError):
            ours.getaddrinfo("a..b", 80)
        for call in (ours.gethostbyname, ours.gethostbyname_ex, ours.gethostbyaddr):
            with pytest.raises(TypeError):
                call(5)  # type: ignore[arg-type]  # that is the point
        assert number_of(lambda: ours.getaddrinfo("www.test", 80, 99)) == stdlib.EAI_FAMILY
        assert asked == []
        assert ours._dns is None


def test_invariant_2_a_coroutine_that_would_be_suspended() -> None:
    class Elsewhere:
        def __await__(self) -> Any:
            yield

    async def wait() -> None:
        await Elsewhere()

    with pytest.raises(RuntimeError, match="waited for something that this resolver does not give it"):
        dnspython._run_to_its_end(wait())


def test_invariant_2_tls_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="not by TLS"):
        dnspython._run_to_its_end(dnspython._BACKEND.make_socket(stdlib.AF_INET, TCP, ssl_context=object()))
    assert dnspython._BACKEND.name() == "coopcore"


def test_invariant_2_a_source_can_be_given(server: DnsServer) -> None:
    def body() -> None:
        made = dnspython._run_to_its_end(dnspython._BACKEND.make_socket(stdlib.AF_INET, stdlib.SOCK_DGRAM, 0, ("127.0.0.1", 0), ("127.0.0.1", server.port)))
        dnspython._run_to_its_end(made.close())
        with pytest.raises(OSError, match="assign"):
            dnspython._run_to_its_end(dnspython._BACKEND.make_socket(stdlib.AF_INET, TCP, 0, ("192.0.2.1", 0), ("127.0.0.1", 1)))

    coopcore.run(body)


def sockets_now() -> int:
    return sum(1 for fd in os.listdir("/proc/self/fd") if is_socket(fd))


def is_socket(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError:
        return False


@pytest.mark.parametrize("name", ["silent.test", "big.test"])
def test_invariant_3_kills_and_timeouts_leave_nothing_open(on: Run, make: Make, server: DnsServer, name: str) -> None:
    @on
    def body() -> None:
        ours = make()
        ours.gethostbyname("www.test")
        before, tasks = sockets_now(), len(get_hub().tasks())
        server.hold.clear()
        try:
            with pytest.raises(Timeout), Timeout(0.005):
                ours.getaddrinfo(name, 80)
            asking = spawn(ours.getaddrinfo, name, 80)
            while asking.waiting_on != "an answer of a name server":
                sleep(0)
            assert len(get_hub().tasks()) == tasks + 2, "one for each family"
            asking.kill()
            sleep(0)
            assert sockets_now() <= before and (len(get_hub().tasks()), dict(get_hub()._promises)) == (tasks, {})
        finally:
            server.hold.set()


def test_invariant_3_a_kill_of_a_connection(on: Run, hosts: str) -> None:
    with stdlib.socket() as full:  # its line of connections is full, so that another one waits
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filling = [stdlib.socket() for _ in range(20)]
        try:
            for client in filling:
                client.setblocking(False)
                client.connect_ex(full.getsockname())

            @on
            def body() -> None:
                before = sockets_now()
                made = stdlib.socket()
                made.setblocking(False)
                if made.connect_ex(full.getsockname()) != errno.EINPROGRESS:
                    made.close()
                    pytest.skip("this system takes any number of connections that nobody accepts")
                made.close()
                for timeout in (0.005, None):
                    making = dnspython._BACKEND.make_socket(stdlib.AF_INET, TCP, 0, None, full.getsockname(), timeout)
                    with pytest.raises((Timeout, dnspython.dns.exception.Timeout)), Timeout(0.05):
                        dnspython._run_to_its_end(making)
                assert sockets_now() <= before
        finally:
            for client in filling:
                client.close()


def test_invariant_4_a_question_is_no_deadlock_and_others_run(on: Run, make: Make, server: DnsServer) -> None:
    @on
    def body() -> None:
        ours = make()
        server.hold.clear()
        asking = spawn(ours.gethostbyname, "www.test")
        while asking.waiting_on != "an answer of a name server":
            sleep(0)
        assert [promise.what for promise in get_hub()._promises.values()] == ["an answer of a name server about www.test."]
        server.hold.set()
        assert asking.get(timeout=5) == "192.0.2.1"
        assert not get_hub()._promises


def test_many_at_once(on: Run, make: Make) -> None:
    @on
    def body() -> None:
        ours = make()
        tasks = [spawn(ours.gethostbyname, f"{name}.test") for name in ("www", "both", "alias", "forged") * 10]
        assert [task.get(timeout=10) for task in tasks] == ["192.0.2.1", "192.0.2.3", "192.0.2.3", "192.0.2.66"] * 10


def test_by_ipv6(on: Run, hosts: str, ipv6: None) -> None:
    with DnsServer(RECORDS, host="::1") as server:

        @on
        def body() -> None:
            ours = DnsResolver(["::1"], port=server.port, hosts=hosts, search=())
            assert ours.gethostbyname("www.test") == "192.0.2.1"
            assert len(ours.getaddrinfo("big.test", 80, stdlib.AF_INET, TCP)) == 99


def test_it_can_be_asked_for_by_name() -> None:
    assert isinstance(coopcore.run(current_resolver, resolver="dnspython"), DnsResolver)


def test_without_its_extra() -> None:
    program = """
import sys
sys.modules["dns"] = None
import coopcore
try:
    coopcore.run(print, resolver="dnspython")
except coopcore.CoopError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stdout.startswith(PluginLoadError.__name__)
    assert "Install the extra: pip install coopcore[dns]" in done.stdout


# -- the order of addresses -----------------------------------------------------------------------------------------------


def test_the_order_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {
        "2001:db8::1": "2001:db8::99",
        "2001:db8:8000::1": "2001:db8::99",
        "192.0.2.1": "192.0.2.99",
        "fe80::1": "fe80::99",
        "fd00::1": "2001:db8::99",
        "2002:1::1": "2001:db8::99",
    }
    monkeypatch.setattr(_order, "_source_for", lambda family, text: _order._as_ipv6(sources[text]) if text in sources else None)

    def ordered(*texts: str) -> list[str]:
        entries = [(stdlib.AF_INET6 if ":" in text else stdlib.AF_INET, text) for text in texts]
        return [text for _, text in _order.sorted_addresses(entries)]

    assert ordered("192.0.2.1", "2001:db8::1") == ["2001:db8::1", "192.0.2.1"], "IPv6 before IPv4"
    assert ordered("2001:db8:5::5", "192.0.2.1") == ["192.0.2.1", "2001:db8:5::5"], "what can be reached before what cannot"
    assert ordered("fd00::1", "192.0.2.1") == ["192.0.2.1", "fd00::1"], "a source of the same label"
    assert ordered("2001:db8::1", "fe80::1") == ["fe80::1", "2001:db8::1"], "the smaller scope"
    assert ordered("2001:db8:8000::1", "2001:db8::1") == ["2001:db8::1", "2001:db8:8000::1"], "the longer prefix in common"
    assert ordered("203.0.113.2", "203.0.113.1") == ["203.0.113.2", "203.0.113.1"], "else as it was"
    assert ordered("ff02::1", "ff0e::1") == ["ff02::1", "ff0e::1"]
    assert ordered("192.0.2.1") == ["192.0.2.1"]


def test_where_the_kernel_would_send_from() -> None:
    source = _order._source_for(stdlib.AF_INET, "127.0.0.1")
    assert str(source) == "::ffff:7f00:1" or str(source) == "::ffff:127.0.0.1"
    assert _order._source_for(stdlib.AF_INET6, "fe80::1") is None, "of which link?"
