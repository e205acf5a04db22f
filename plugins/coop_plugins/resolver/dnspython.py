"""A resolver that asks name servers itself, by UDP and TCP, as a task that parks: by dnspython, the extra ``dns``.

Theory
======
Numbers are the system's affair: its ``getaddrinfo`` refuses bad arguments, knows the names of services, and turns each address, as a number, into the entries
that it has for it. What is left is a name and the families that are wanted. That is looked up in the hosts file, and then asked of name servers, both
families at once in two tasks, one candidate of the search list after the other.

dnspython's asynchronous resolver does the asking (tries, time-outs, TCP after a truncated answer, the cache). Its sockets are ours: what its coroutines
await parks the task and returns, so that a coroutine is never suspended, and one ``send(None)`` runs it to its end.

The files, hosts and resolv.conf, are read by a thread when they have changed. Numbers of services are looked up in the system's list, a file, right here.

Invariants
==========
1. What is numeric asks nobody, and is answered by the system itself.
2. A coroutine of dnspython runs to its end in one step; the task parks inside.
3. Whatever ends a look-up, kill and timeout too, its sockets are closed and its second task is killed.
4. While a question is open the hub is in no deadlock, and no clock jumps.
5. Errors are ``gaierror`` and ``herror`` with the system's numbers.
"""

from __future__ import annotations

import os
import socket as _stdlib
from collections.abc import Callable, Coroutine, Sequence
from socket import AF_INET, AF_INET6, gaierror, herror
from time import monotonic
from typing import Any, TypeVar

from coop_plugins.event import Event
from coop_plugins.threadpool import offload
from coopcore import sleep, spawn
from coopcore.lowlevel import hide_frames, promise, wait_readable, wait_writable

from . import _system
from ._hosts import Found, Hosts
from ._order import sorted_addresses
from ._system import AddressInfo, Host, Named, Port

try:
    import dns.asyncbackend
    import dns.asyncresolver
    import dns.exception
    import dns.name
    import dns.rdatatype
    import dns.resolver
    import dns.reversename
except ImportError as missing:
    raise ImportError("the resolver 'dnspython' needs dnspython, and it is not installed. Install the extra: pip install coopcore[dns]") from missing

T = TypeVar("T")

__all__ = ["DnsResolver"]

hide_frames(__file__)

_TYPES: dict[int, dns.rdatatype.RdataType] = {AF_INET: dns.rdatatype.A, AF_INET6: dns.rdatatype.AAAA}
_LOOK_AGAIN = 1.0  # seconds after which the files are looked at again, whether they have changed

# What the system says; there is no function that tells.
_WORDS = {
    _stdlib.EAI_NONAME: "Name or service not known",
    _stdlib.EAI_NODATA: "No address associated with hostname",
    _stdlib.EAI_AGAIN: "Temporary failure in name resolution",
}
# The same reasons, as the functions say them that raise herror.
_AS_HERROR = {
    _stdlib.EAI_NONAME: (1, "Unknown host"),
    _stdlib.EAI_AGAIN: (2, "Host name lookup failure"),
    _stdlib.EAI_NODATA: (4, "No address associated with name"),
}


def _gaierror(number: int) -> gaierror:
    return gaierror(number, _WORDS[number])


# -- what dnspython awaits ------------------------------------------------------------------------------------------------


class _Datagrams(dns.asyncbackend.DatagramSocket):
    """A UDP socket, connected, so that the kernel drops what others send."""

    def __init__(self, sock: _stdlib.socket) -> None:
        super().__init__(sock.family, sock.type)
        self._sock = sock

    async def sendto(self, what: bytes, destination: Any, timeout: float | None) -> int:
        return _patiently(self._sock.send, what, wait_writable, self._sock, timeout)

    async def recvfrom(self, size: int, timeout: float | None) -> tuple[bytes, Any]:
        return _patiently(self._sock.recvfrom, size, wait_readable, self._sock, timeout)

    async def close(self) -> None:
        self._sock.close()


class _Stream(dns.asyncbackend.StreamSocket):
    """A TCP socket."""

    def __init__(self, sock: _stdlib.socket) -> None:
        super().__init__(sock.family, sock.type)
        self._sock = sock

    async def sendall(self, what: bytes, timeout: float | None) -> None:
        while what:
            what = what[_patiently(self._sock.send, what, wait_writable, self._sock, timeout) :]

    async def recv(self, size: int, timeout: float | None) -> bytes:
        return _patiently(self._sock.recv, size, wait_readable, self._sock, timeout)

    async def close(self) -> None:
        self._sock.close()


def _patiently(call: Callable[[Any], T], argument: Any, wait: Callable[..., bool], sock: _stdlib.socket, timeout: float | None) -> T:
    """Do it, and wait first if it cannot be done now."""
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        try:
            return call(argument)
        except BlockingIOError:
            left = None if deadline is None else max(deadline - monotonic(), 0)
            if not wait(sock.fileno(), left, what="an answer of a name server"):
                raise _timed_out(timeout) from None


def _timed_out(timeout: float | None) -> Exception:
    error: Exception = dns.exception.Timeout(timeout=timeout)  # type: ignore[no-untyped-call]  # dnspython's constructors of errors have no types
    return error


class _Backend(dns.asyncbackend.Backend):
    """Gives dnspython what it awaits. None of these coroutines is ever suspended."""

    def name(self) -> str:
        return "coopcore"

    def datagram_connection_required(self) -> bool:
        return True

    async def make_socket(
        self,
        af: int,
        socktype: int,
        proto: int = 0,
        source: Any = None,
        destination: Any = None,
        timeout: float | None = None,
        ssl_context: Any = None,
        server_hostname: Any = None,
    ) -> _Datagrams | _Stream:
        if ssl_context is not None:
            raise NotImplementedError("this resolver asks by UDP and TCP, and not by TLS")
        sock = _system.socket(af, socktype, proto)
        try:
            sock.setblocking(False)
            if source is not None:
                sock.bind(source)
            _connect(sock, destination, timeout)
        except BaseException:
            sock.close()
            raise
        return _Datagrams(sock) if socktype == _stdlib.SOCK_DGRAM else _Stream(sock)

    async def sleep(self, interval: float) -> None:
        sleep(interval)


def _connect(sock: _stdlib.socket, destination: Any, timeout: float | None) -> None:
    try:
        sock.connect(destination)
    except BlockingIOError:
        if not wait_writable(sock.fileno(), timeout, what="a connection to a name server"):
            raise _timed_out(timeout) from None
        number = sock.getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number)) from None


_BACKEND = _Backend()


def _run_to_its_end(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waited for something that this resolver does not give it; it asks by UDP and TCP only")


# -- files ----------------------------------------------------------------------------------------------------------------


class _Files:
    """What the hosts file and resolv.conf say. Read by a thread, again when they have changed."""

    def __init__(self, paths: tuple[str, ...], read: Callable[[], None]) -> None:
        self._paths = paths
        self._read = read
        self._seen: object = None
        self._look_at = 0.0
        self._reading: Event | None = None

    def refresh(self) -> None:
        """Park until what was read is what they say now, or was so a second ago."""
        while self._reading is not None:
            self._reading.wait()
        now = monotonic()
        if now < self._look_at:
            return
        seen = [_state_of(path) for path in self._paths]
        if seen != self._seen:
            self._reading = Event()
            try:
                offload(self._read)
                self._seen = seen
            finally:
                self._reading.set()
                self._reading = None
        self._look_at = now + _LOOK_AGAIN


def _state_of(path: str) -> object:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _configured(path: str) -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver(path)
    except dns.resolver.NoResolverConfiguration:
        made = dns.asyncresolver.Resolver(configure=False)  # as the system has it then: a server on this machine
        made.nameservers = ["127.0.0.1"]
        return made


# -- the resolver ---------------------------------------------------------------------------------------------------------


class _Nothing(Exception):
    """A question without an answer. ``number`` says why, as that of a gaierror; ``final``: nor would the next candidate have one."""

    def __init__(self, number: int, final: bool = False) -> None:
        super().__init__(number)
        self.number = number
        self.final = final


# Which of several reasons is told: of the families of one name, and of the candidates of a search.
_WORST_FIRST = (_stdlib.EAI_AGAIN, _stdlib.EAI_NODATA, _stdlib.EAI_NONAME)
_FIRST_TOLD = (_stdlib.EAI_NODATA, _stdlib.EAI_AGAIN, _stdlib.EAI_NONAME)


def _families(family: int, flags: int) -> list[int]:
    """Which families to look for."""
    if family == AF_INET6 and flags & _stdlib.AI_V4MAPPED:
        return [AF_INET6, AF_INET]
    wanted: list[int] = [one for one in (AF_INET6, AF_INET) if family in (_stdlib.AF_UNSPEC, one)]
    if flags & _stdlib.AI_ADDRCONFIG and family == _stdlib.AF_UNSPEC:
        return [one for one in wanted if _is_configured(one)] or wanted
    return wanted


def _is_configured(family: int) -> bool:
    """What AI_ADDRCONFIG asks: whether this machine has an address of the family. The system tells, asked for a number."""
    try:
        _system.getaddrinfo("127.0.0.1" if family == AF_INET else "::1", None, family, 0, 0, _stdlib.AI_ADDRCONFIG | _stdlib.AI_NUMERICHOST)
    except gaierror:
        return False
    return True


def _mapped(found: Found, every: bool) -> Found:
    """IPv6 addresses, and IPv4 ones in their shape: those if there are no others, or if ``every`` one is wanted."""
    six = [entry for entry in found.addresses if entry[0] == AF_INET6]
    four: list[tuple[int, str]] = [(AF_INET6, f"::ffff:{address}") for family, address in found.addresses if family == AF_INET]
    return found._replace(addresses=six + four if every or not six else six)


class DnsResolver:
    """Implements `coopcore.protocols.Resolver` by asking name servers, those of ``/etc/resolv.conf`` unless ``nameservers`` (addresses) are given.

    ``search`` are domains in place of that file's. ``timeout``: seconds for one try; ``lifetime``: for one question with all its tries. A name in the
    ``hosts`` file is not asked for. Answers are kept as long as they say.
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        *,
        port: int = 53,
        search: Sequence[str] | None = None,
        timeout: float | None = None,
        lifetime: float | None = None,
        hosts: str = "/etc/hosts",
        resolv_conf: str = "/etc/resolv.conf",
    ) -> None:
        self._nameservers = nameservers
        self._port = port
        self._search_given = search
        self._timeout = timeout
        self._lifetime = lifetime
        self._hosts_path = hosts
        self._resolv_conf = resolv_conf
        self._files = _Files((hosts, resolv_conf) if nameservers is None else (hosts,), self._read)
        self._hosts = Hosts("")
        self._dns: dns.asyncresolver.Resolver | None = None
        self._search: list[dns.name.Name] = []

    def _read(self) -> None:
        """In a thread: both files."""
        self._hosts = Hosts(_text_of(self._hosts_path))
        if self._nameservers is None:
            made = _configured(self._resolv_conf)
        elif self._dns is None:
            made = dns.asyncresolver.Resolver(configure=False)
            made.nameservers = list(self._nameservers)
        else:
            return
        made.port = self._port
        made.cache = dns.resolver.LRUCache(1000)
        made.timeout = self._timeout or made.timeout
        made.lifetime = self._lifetime or max(made.lifetime, made.timeout * len(made.nameservers))
        if self._search_given is not None:
            self._search = [dns.name.from_text(domain) for domain in self._search_given]
        else:
            self._search = list(made.search) or [made.domain] if made.domain != dns.name.root else list(made.search)
        self._dns = made

    # -- names to addresses -----------------------------------------------------------------------------------------------

    def getaddrinfo(self, host: Host, port: Port, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> AddressInfo:
        """As ``socket.getaddrinfo``: at once for what is numeric, else parks until name servers have answered."""
        at_once = _system.addresses_at_once(host, port, family, type, proto, flags)
        if at_once is not None:
            return at_once
        assert host is not None
        numeric = flags & ~(_stdlib.AI_CANONNAME | _stdlib.AI_ADDRCONFIG | _stdlib.AI_V4MAPPED | _stdlib.AI_ALL) | _stdlib.AI_NUMERICHOST

        def entries(kind: int, address: str) -> AddressInfo:
            return list(_system.getaddrinfo(address, port, kind, type, proto, numeric))

        if flags & _stdlib.AI_ADDRCONFIG and family != _stdlib.AF_UNSPEC and not _is_configured(family):
            raise _gaierror(_stdlib.EAI_NONAME)
        entries(*((AF_INET6, "::1") if family == AF_INET6 else (AF_INET, "127.0.0.1")))  # raises what there is to say against the other arguments
        found = self._look_up(host, _families(family, flags), as_written=family == _stdlib.AF_UNSPEC)
        if family == AF_INET6 and flags & _stdlib.AI_V4MAPPED:
            found = _mapped(found, bool(flags & _stdlib.AI_ALL))
        answer = [entry for kind, address in sorted_addresses(found.addresses) for entry in entries(kind, address)]
        if flags & _stdlib.AI_CANONNAME:
            answer[0] = (*answer[0][:3], found.name, *answer[0][4:])
        return answer

    def gethostbyname(self, hostname: str) -> str:
        """As ``socket.gethostbyname``: at once for what is numeric, else parks until name servers have answered."""
        if _system.is_spelt_out(hostname):
            return _system.gethostbyname(hostname)
        address: str = self.getaddrinfo(_system.text_or_bytes(hostname), None, AF_INET, _stdlib.SOCK_STREAM)[0][4][0]
        return address

    def gethostbyname_ex(self, hostname: str) -> Named:
        """As ``socket.gethostbyname_ex``. Parks until name servers have answered."""
        if _system.is_spelt_out(hostname):
            return offload(_system.gethostbyname_ex, hostname)
        name = _system.text_or_bytes(hostname)
        if _system.addresses_at_once(name, None, AF_INET, _stdlib.SOCK_STREAM, 0, 0) is not None:
            return _system.gethostbyname_ex(hostname)
        found = self._look_up(name, [AF_INET], as_written=False)
        return (found.name, found.aliases, [address for _, address in found.addresses])

    def _look_up(self, host: str | bytes, families: list[int], as_written: bool) -> Found:
        """What is known of a name: by the hosts file, or else by name servers. Raises gaierror."""
        name = host.encode("idna") if isinstance(host, str) else bytes(host)
        self._files.refresh()
        found = self._hosts.find(name.decode("utf-8", "replace"), families, as_written)
        if found is not None:
            return found
        try:
            return self._ask(name, families)
        except _Nothing as nothing:
            raise _gaierror(nothing.number) from None

    def _ask(self, name: bytes, families: list[int]) -> Found:
        """Ask about one candidate after the other. What is told of a search in vain is why the name failed as it stands, if it was asked for first."""
        numbers: list[int] = []
        candidates = self._candidates(name)
        for candidate in candidates:
            try:
                return self._ask_about(candidate, families)
            except _Nothing as nothing:
                if nothing.final:
                    raise
                numbers.append(nothing.number)
        if numbers and len(candidates[0]) == len(_labels(name)) + 1:
            raise _Nothing(numbers[0])
        raise _Nothing(next((number for number in _FIRST_TOLD if number in numbers), _stdlib.EAI_NONAME))

    def _candidates(self, name: bytes) -> list[dns.name.Name]:
        """What the name may be short for, in the order in which to ask. Empty if it cannot be a name."""
        assert self._dns is not None
        labels = _labels(name)
        try:
            as_it_stands = dns.name.Name([*labels, b""])
        except dns.exception.DNSException:
            return []
        if name.endswith(b"."):
            return [as_it_stands]
        searched = []
        for domain in self._search:
            try:
                searched.append(dns.name.Name(labels).concatenate(domain))
            except dns.exception.DNSException:
                pass  # too long
        first = name.count(b".") >= (1 if self._dns.ndots is None else self._dns.ndots)
        return [as_it_stands, *searched] if first else [*searched, as_it_stands]

    def _ask_about(self, name: dns.name.Name, families: list[int]) -> Found:
        """The addresses of one full name, of each family; they are asked for at once."""
        others = [spawn(self._answer, name, family) for family in families[1:]]
        try:
            outcomes = [self._answer(name, families[0]), *(other.get() for other in others)]
        finally:
            for other in others:
                other.kill(block=False)
        found = [outcome for outcome in outcomes if isinstance(outcome, Found)]
        if not found:
            reasons = [outcome for outcome in outcomes if isinstance(outcome, _Nothing)]
            raise min(reasons, key=lambda reason: (not reason.final, _WORST_FIRST.index(reason.number)))
        return found[0]._replace(addresses=[entry for one in found for entry in one.addresses])

    def _answer(self, name: dns.name.Name, family: int) -> Found | _Nothing:
        """The addresses of one family."""
        try:
            answer = self._query(name, _TYPES[family])
        except _Nothing as nothing:
            return nothing
        full = (name if answer.canonical_name == name else answer.canonical_name).to_text(omit_final_dot=True)  # in the letters that were asked for
        aliases = [record.name.to_text(omit_final_dot=True) for record in answer.chaining_result.cnames]
        return Found(full, aliases, [(family, record.address) for record in answer])

    def _query(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        assert self._dns is not None
        try:
            with promise(f"an answer of a name server about {name}"):
                return _run_to_its_end(self._dns.resolve(name, rdtype, search=False, backend=_BACKEND))
        except dns.resolver.NXDOMAIN:
            raise _Nothing(_stdlib.EAI_NONAME) from None
        except dns.resolver.NoAnswer as error:
            if error.kwargs["response"].answer:  # another name, which has nothing
                raise _Nothing(_stdlib.EAI_NONAME, final=True) from None
            raise _Nothing(_stdlib.EAI_NODATA) from None
        except dns.exception.Timeout:
            raise _Nothing(_stdlib.EAI_AGAIN, final=True) from None
        except dns.exception.DNSException:
            raise _Nothing(_stdlib.EAI_AGAIN) from None

    # -- addresses to names -----------------------------------------------------------------------------------------------

    def gethostbyaddr(self, ip_address: str) -> Named:
        """As ``socket.gethostbyaddr``. Parks until name servers have answered."""
        if _system.is_spelt_out(ip_address):
            return offload(_system.gethostbyaddr, ip_address)
        family, _, _, _, sockaddr = self.getaddrinfo(_system.text_or_bytes(ip_address), None, 0, _stdlib.SOCK_STREAM)[0]
        try:
            found = self._name_of(family, sockaddr[0])
        except _Nothing as nothing:
            raise herror(*_AS_HERROR[nothing.number]) from None
        return (found.name, found.aliases, [sockaddr[0]])

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As ``socket.getnameinfo``: at once with NI_NUMERICHOST, else parks until name servers have answered."""
        host, service = _system.getnameinfo(sockaddr, flags & ~_stdlib.NI_NAMEREQD | _stdlib.NI_NUMERICHOST)
        if _system.is_numeric(flags):
            return _system.getnameinfo(sockaddr, flags)
        try:
            name = self._name_of(AF_INET6 if ":" in host else AF_INET, host).name
        except _Nothing as nothing:
            if nothing.number == _stdlib.EAI_AGAIN or flags & _stdlib.NI_NAMEREQD:
                raise _gaierror(_stdlib.EAI_AGAIN if nothing.number == _stdlib.EAI_AGAIN else _stdlib.EAI_NONAME) from None
            return host, service
        return (name.partition(".")[0] if flags & _stdlib.NI_NOFQDN and _is_local(name) else name), service

    def _name_of(self, family: int, address: str) -> Found:
        """What an address is called: by the hosts file, or else by name servers."""
        address = address.partition("%")[0]
        self._files.refresh()
        found = self._hosts.name_of(family, address)
        if found is None:
            answer = self._query(dns.reversename.from_address(address), dns.rdatatype.PTR)
            found = Found(answer[0].target.to_text(omit_final_dot=True), [], [(family, address)])
        return found

    def close(self) -> None:
        """Nothing is held between two look-ups but answers."""


def _labels(name: bytes) -> list[bytes]:
    return name.removesuffix(b".").split(b".")


def _is_local(name: str) -> bool:
    """True if it is of the same domain as this host."""
    return name.partition(".")[2] == _stdlib.gethostname().partition(".")[2]
