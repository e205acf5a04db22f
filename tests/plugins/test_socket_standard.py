"""``coop_plugins.socket`` beside the standard module: each test runs the same statements on both, and both answer alike."""

from __future__ import annotations

import array
import copy
import errno
import gc
import inspect
import os
import pickle
import socket as stdlib
import struct
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import coopcore
from coop_plugins import socket as ours
from coopcore import sleep, spawn

both = pytest.mark.parametrize("lib", [ours, stdlib], ids=["coopcore", "standard"])

LEFT_OUT = {"IntEnum", "IntFlag", "array", "errno", "io", "os", "selectors", "sys"}  # what the standard module has only imported


def test_every_name_that_is_public_is_here() -> None:
    missing = [name for name in dir(stdlib) if not name.startswith("_") and name not in LEFT_OUT and not hasattr(ours, name)]
    assert missing == []


def test_functions_take_the_same_arguments() -> None:
    for name in stdlib.__all__:
        standard, mine = getattr(stdlib, name), getattr(ours, name)
        if isinstance(standard, types.FunctionType) and standard is not mine and name not in ("getfqdn", "fromfd"):
            want, got = inspect.signature(standard).parameters, inspect.signature(mine).parameters
            assert [(p.name, p.kind) for p in got.values()] == [(p.name, p.kind) for p in want.values()], name


def test_methods_take_the_same_arguments() -> None:
    for name, standard in vars(stdlib.socket).items():
        mine = getattr(ours.socket, name)
        if isinstance(standard, types.FunctionType) and mine is not standard and not name.startswith("_"):
            assert list(inspect.signature(mine).parameters) == list(inspect.signature(standard).parameters), name
    assert [name for name in dir(stdlib.socket) if not hasattr(ours.socket, name)] == []


@both
def test_it_cannot_be_copied(lib: Any) -> None:
    with lib.socket() as made:
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot pickle 'socket' object"):
                duplicate(made)


def drop(things: list[Any]) -> None:
    things.clear()
    gc.collect()


@both
def test_one_that_is_not_closed_warns(lib: Any) -> None:
    made: list[Any] = [lib.socket()]
    fd = made[0].fileno()
    with pytest.warns(ResourceWarning, match=r"unclosed <.*socket\.socket fd="):
        drop(made)
    with pytest.raises(OSError):
        os.fstat(fd)


@both
def test_what_it_looks_like_when_closed(lib: Any) -> None:
    made = lib.socket()
    made.close()
    assert repr(made).endswith("socket.socket [closed] fd=-1, family=2, type=1, proto=0>")
    assert made.fileno() == -1
    made.close()
    with pytest.raises(OSError) as caught:
        made.getsockname()
    assert caught.value.errno == errno.EBADF
    for call in (lambda: made.settimeout(1), lambda: made.setblocking(True)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


@both
def test_it_takes_no_attributes_and_weak_references(lib: Any) -> None:
    import weakref

    with lib.socket() as made:
        with pytest.raises(AttributeError):
            made.note = 1
        assert weakref.ref(made)() is made


@both
def test_a_descriptor_tells_what_it_is(lib: Any) -> None:
    for family, kind in ((stdlib.AF_INET, stdlib.SOCK_DGRAM), (stdlib.AF_UNIX, stdlib.SOCK_STREAM), (stdlib.AF_UNIX, stdlib.SOCK_SEQPACKET)):
        with stdlib.socket(family, kind) as plain, lib.socket(fileno=plain.detach()) as made:
            assert (made.family, made.type) == (family, kind)
            assert isinstance(made, lib.socket)
    for bad, error in ((-1, ValueError), (1.5, TypeError), ("x", TypeError), (object(), TypeError)):
        with pytest.raises(error):
            lib.socket(fileno=bad)
    with open(os.devnull) as file, pytest.raises(OSError) as caught:
        lib.socket(fileno=file.fileno())
    assert caught.value.errno == errno.ENOTSOCK
    with pytest.raises(OSError) as caught:
        lib.socket(fileno=999_999)
    assert caught.value.errno == errno.EBADF


@both
def test_what_cannot_be_made(lib: Any) -> None:
    with pytest.raises(OSError) as caught:
        lib.socket(stdlib.AF_INET, stdlib.SOCK_STREAM, 12345)
    assert caught.value.errno in (errno.EPROTONOSUPPORT, errno.EINVAL)
    with pytest.raises(TypeError):
        lib.socket("AF_INET")
    with pytest.raises(OSError):
        lib.socketpair(stdlib.AF_INET)


@both
def test_a_subclass(lib: Any) -> None:
    class Mine(lib.socket):  # type: ignore[misc]  # whichever it is
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.note = "mine"

    with Mine() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with Mine() as client:
            client.connect(listener.getsockname())
            served, _ = listener.accept()
            assert type(served) is lib.socket
            served.close()
            with client.dup() as twin:
                assert (type(twin), twin.note) == (Mine, "mine")


@both
def test_it_is_inherited_only_if_asked(lib: Any) -> None:
    near, far = lib.socketpair()
    with near, far, near.dup() as twin:
        for made in (near, far, twin):
            assert not made.get_inheritable()
            assert not os.get_inheritable(made.fileno())
        near.set_inheritable(True)
        assert near.get_inheritable()


@both
def test_detaching_twice(lib: Any) -> None:
    made = lib.socket()
    fd = made.detach()
    os.close(fd)
    assert made.detach() == -1
    assert "[closed]" in repr(made)
    made.close()


@both
def test_descriptors_by_ancillary_data(lib: Any) -> None:
    near, far = lib.socketpair()
    reading, writing = os.pipe()
    with near, far:
        near.sendmsg([b"da", b"ta"], [(stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS, array.array("i", [reading, writing]))])
        data, ancillary, flags, _ = far.recvmsg(10, stdlib.CMSG_SPACE(2 * 4))
        assert data == b"data"
        assert not flags & stdlib.MSG_CTRUNC
        [(level, kind, raw)] = ancillary
        assert (level, kind) == (stdlib.SOL_SOCKET, stdlib.SCM_RIGHTS)
        got = struct.unpack("2i", raw)
        os.write(got[1], b"x")
        assert os.read(got[0], 1) == b"x"
        lib.send_fds(near, [b"again"], [reading])
        data, fds, _, _ = lib.recv_fds(far, 10, 2)
        assert (data, len(fds)) == (b"again", 1)
        buffers = [bytearray(2), bytearray(10)]
        near.send(b"abcde")
        assert far.recvmsg_into(iter(buffers))[0] == 5
        assert buffers == [b"ab", b"cde" + bytes(7)]
        for fd in (reading, writing, *got, *fds):
            os.close(fd)


@both
def test_abstract_names(lib: Any) -> None:
    with lib.socket(stdlib.AF_UNIX) as listener, lib.socket(stdlib.AF_UNIX) as client:
        listener.bind(b"\0coopcore-%d" % os.getpid())
        listener.listen()
        client.connect(listener.getsockname())
        served, address = listener.accept()
        assert address == ""
        served.close()
    with lib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as near, lib.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM) as far:
        near.bind("")
        far.sendto(b"x", near.getsockname())
        assert near.recvfrom(10) == (b"x", None)


@both
def test_datagrams_keep_their_edges(lib: Any) -> None:
    with lib.socket(type=stdlib.SOCK_DGRAM) as near, lib.socket(type=stdlib.SOCK_DGRAM) as far:
        near.bind(("127.0.0.1", 0))
        far.connect(near.getsockname())
        far.sendall(b"one")
        far.sendall(b"")
        far.sendall(bytearray())
        far.sendall(b"two two")
        far.send(b"three")
        assert [near.recv(3), near.recv(3), near.recv(3), near.recv(3), near.recv(10)] == [b"one", b"", b"", b"two", b"three"]
        far.sendall(b"truncated")
        data, _, flags, address = near.recvmsg(5)
        assert (data, address) == (b"trunc", far.getsockname())
        assert flags & stdlib.MSG_TRUNC


@both
def test_what_sendall_takes_and_refuses(lib: Any) -> None:
    near, far = lib.socketpair()
    with near, far:
        near.settimeout(5)
        assert near.sendall(array.array("I", range(4))) is None
        assert near.sendall(memoryview(b"xxabxx")[2:4]) is None
        assert far.recv(100) == array.array("I", range(4)).tobytes() + b"ab"
        for bad, error in (("text", TypeError), (None, TypeError), (5, TypeError), (memoryview(b"abcd")[::2], BufferError)):
            with pytest.raises(error):
                near.sendall(bad)
        for bad in ("text", None):
            with pytest.raises(TypeError):
                near.send(bad)
    with pytest.raises(OSError) as caught:
        near.sendall(b"")
    assert caught.value.errno == errno.EBADF


@both
def test_a_port_is_a_number(lib: Any) -> None:
    with lib.socket() as made:
        for call in (made.bind, made.connect, made.connect_ex):
            for port in (65536, -1):
                with pytest.raises(OverflowError):
                    call(("localhost", port))
            for address in (("127.0.0.1",), ("127.0.0.1", "80"), "127.0.0.1:80", ("127.0.0.1", 80, 0), 5):
                with pytest.raises(TypeError):
                    call(address)


@both
def test_sending_where_nobody_reads(lib: Any) -> None:
    near, far = lib.socketpair()
    with near, far:
        near.shutdown(stdlib.SHUT_WR)
        with pytest.raises(BrokenPipeError):
            near.send(b"x")
        assert far.recv(10) == b""
    with lib.socket() as made, pytest.raises(OSError) as caught:
        made.shutdown(stdlib.SHUT_RDWR)
    assert caught.value.errno == errno.ENOTCONN


@pytest.fixture
def default_timeout() -> Iterator[None]:
    yield
    stdlib.setdefaulttimeout(None)


@both
@pytest.mark.usefixtures("default_timeout")
def test_the_default_timeout_at_run_time(lib: Any) -> None:
    with lib.socket() as early, lib.create_server(("127.0.0.1", 0)) as listener:
        lib.setdefaulttimeout(0.5)
        assert lib.getdefaulttimeout() == 0.5
        assert early.gettimeout() is None
        with lib.socket() as late, lib.create_connection(listener.getsockname()) as client:
            served, _ = listener.accept()
            with served, client.dup() as twin:
                assert [made.gettimeout() for made in (late, client, served, twin)] == [0.5] * 4
        lib.setdefaulttimeout(0)
        with lib.socket() as never:
            assert not never.getblocking()
        lib.setdefaulttimeout(None)
        with lib.socket() as now:
            assert now.gettimeout() is None


@both
def test_create_connection_s_errors(lib: Any) -> None:
    with stdlib.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
        with pytest.raises(ConnectionRefusedError):
            lib.create_connection(address, 5)
        with pytest.raises(ExceptionGroup, match="create_connection failed") as group:
            lib.create_connection(address, 5, all_errors=True)
        assert [type(error) for error in group.value.exceptions] == [ConnectionRefusedError]
    with pytest.raises(ValueError):
        lib.create_connection(("127.0.0.1",))
    with lib.create_server(("127.0.0.1", 0)) as listener:
        with lib.create_connection(listener.getsockname(), source_address=("127.0.0.1", 0)) as client:
            assert client.getpeername() == listener.getsockname()
        with pytest.raises(OSError):
            lib.create_connection(listener.getsockname(), source_address=("127.0.0.1", 1) if os.geteuid() else ("203.0.113.1", 0))


@both
def test_files_of_all_modes(lib: Any) -> None:
    near, far = lib.socketpair()
    with near, far:
        for mode, buffering, kind in (
            ("r", None, "TextIOWrapper"),
            ("w", None, "TextIOWrapper"),
            ("rw", None, "TextIOWrapper"),
            ("rb", None, "BufferedReader"),
            ("wb", None, "BufferedWriter"),
            ("rwb", None, "BufferedRWPair"),
            ("rb", 0, "SocketIO"),
            ("wb", 0, "SocketIO"),
            ("rwb", 0, "SocketIO"),
            ("rb", 5, "BufferedReader"),
        ):
            with near.makefile(mode, buffering) as file:
                assert type(file).__name__ == kind
                assert file.readable() == ("r" in mode)
                assert file.writable() == ("w" in mode)
        for mode, buffering in (("x", None), ("a", None), ("r", 0), ("w", 0)):
            with pytest.raises(ValueError):
                near.makefile(mode, buffering)
        with near.makefile("rb") as file:
            near.settimeout(0.01)
            with pytest.raises(TimeoutError):
                file.read(1)
            near.settimeout(5)
            far.send(b"x")
            with pytest.raises(OSError, match="cannot read from timed out object"):
                file.read(1)
        with near.makefile("rb", 0) as raw:
            near.setblocking(False)
            far.send(b"yz")
            assert raw.read(100) == b"xyz"
            assert raw.read(1) is None
            near.setblocking(True)
            assert raw.mode == "rb"
        with pytest.raises(ValueError, match="closed"):
            raw.read(1)


@both
def test_reading_stops_at_the_end_of_the_file(lib: Any) -> None:
    near, far = lib.socketpair()
    with near, near.makefile("rwb") as file:
        with far:
            far.sendall(b"one\ntwo\nthree")
        assert list(file) == [b"one\n", b"two\n", b"three"]
        assert file.read() == b""


@both
def test_sendfile_leaves_the_file_where_it_was_read_to(lib: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "empty").write_bytes(b"")
    near, far = lib.socketpair()
    with near, far, open(tmp_path / "file", "rb") as file, open(tmp_path / "empty", "rb") as empty:
        near.settimeout(5)
        assert near.sendfile(empty) == 0
        assert near.sendfile(file) == 10
        assert (file.tell(), far.recv(100)) == (10, b"0123456789")
        assert near.sendfile(file, offset=3) == 7
        assert (file.tell(), far.recv(100)) == (10, b"3456789")
        assert near.sendfile(file, offset=2, count=3) == 3
        assert (file.tell(), far.recv(100)) == (5, b"234")
        assert near.sendfile(file, offset=100) == 0
        refused = [((file, 0, -1), ValueError), ((file, 0, 0), ValueError), ((file, 0, 1.5), TypeError), ((file, -1), OSError), ((file, 1.5), TypeError)]
        for bad, error in refused:
            with pytest.raises(error):
                near.sendfile(*bad)


@both
def test_closing_by_number(lib: Any) -> None:
    near, far = stdlib.socketpair()
    with far:
        fd = near.detach()
        lib.close(fd)
        with pytest.raises(OSError):
            os.fstat(fd)
        for bad, error in ((fd, OSError), ("x", TypeError)):
            with pytest.raises(error):
                lib.close(bad)


@both
def test_a_descriptor_that_was_closed_behind_its_back(lib: Any) -> None:
    near, far = lib.socketpair()
    with far:
        os.close(near.fileno())
        for call in (lambda: near.recv(1), lambda: near.send(b"x"), lambda: near.sendall(b"x"), near.getsockname, lambda: near.settimeout(1)):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError) as caught:
            near.close()
        assert caught.value.errno == errno.EBADF


@both
def test_timeouts_are_finite_spans(lib: Any) -> None:
    with lib.socket() as made:
        for bad, error in ((-1, ValueError), (float("nan"), ValueError), (float("inf"), OverflowError), ("1", TypeError), ((), TypeError), (1j, TypeError)):
            with pytest.raises(error):
                made.settimeout(bad)
        made.settimeout(10**6)
        made.settimeout(True)
        assert made.gettimeout() == 1.0
        for no_flag in ("false", None, 1.5):
            if sys.version_info >= (3, 12):
                made.setblocking(no_flag)
                assert made.getblocking() is bool(no_flag)
            else:
                with pytest.raises(TypeError):
                    made.setblocking(no_flag)


@both
def test_interfaces_have_names(lib: Any) -> None:
    index, name = lib.if_nameindex()[0]
    assert lib.if_nametoindex(name) == index
    assert lib.if_indextoname(index) == name
    assert lib.has_dualstack_ipv6() in (True, False)
    assert lib.ntohs(lib.htons(1)) == 1
    assert issubclass(lib.socket, lib.SocketType)


@both
@pytest.mark.skipif(not hasattr(stdlib, "AF_ALG"), reason="this platform has no AF_ALG")
def test_the_kernel_s_ciphers(lib: Any) -> None:
    """AF_ALG, where the kernel has it."""
    try:
        algorithm = lib.socket(stdlib.AF_ALG, stdlib.SOCK_SEQPACKET, 0)
    except OSError as error:
        pytest.skip(f"no AF_ALG here: {error}")
    with algorithm:
        try:
            algorithm.bind(("hash", "sha256"))
        except OSError as error:
            pytest.skip(f"no sha256 in this kernel: {error}")
        operation, _ = algorithm.accept()
        with operation:
            operation.sendall(b"abc")
            assert operation.recv(512).hex().startswith("ba7816bf")
        with lib.socket(stdlib.AF_ALG, stdlib.SOCK_SEQPACKET, 0) as cipher:
            cipher.bind(("skcipher", "cbc(aes)"))
            cipher.setsockopt(stdlib.SOL_ALG, stdlib.ALG_SET_KEY, bytes(16))
            operation, _ = cipher.accept()
            with operation:
                assert operation.sendmsg_afalg([bytes(16)], op=stdlib.ALG_OP_ENCRYPT, iv=bytes(16)) == 16
                assert len(operation.recv(16)) == 16
            with pytest.raises(TypeError):
                cipher.sendmsg_afalg([b""])


# -- what takes two tasks -----------------------------------------------------------------------------------------------------


def test_shutdown_by_another_task_wakes_who_waits() -> None:
    def body() -> None:
        near, far = ours.socketpair()
        with near, far, ours.create_server(("127.0.0.1", 0)) as listener, warnings.catch_warnings():
            reading, accepting = spawn(near.recv, 10), spawn(listener.accept)
            near.settimeout(5)
            while reading.state != "parked" or accepting.state != "parked":
                sleep(0)
            near.shutdown(ours.SHUT_RD)
            assert reading.get(timeout=5) == b""
            listener.shutdown(ours.SHUT_RD)
            with pytest.raises(OSError) as caught:
                accepting.get(timeout=5)
            assert caught.value.errno == errno.EINVAL
            near.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    near.send(bytes(65536))
            near.setblocking(True)
            writing = spawn(near.sendall, b"x")
            while writing.state != "parked":
                sleep(0)
            near.shutdown(ours.SHUT_WR)
            with pytest.raises(BrokenPipeError):
                writing.get(timeout=5)

    for backend in ("epoll", "selectors"):
        coopcore.run(body, backend=backend)


def test_a_datagram_goes_on_once_there_is_room_for_it(tmp_path: Any) -> None:
    def body() -> None:
        with ours.socket(ours.AF_UNIX, ours.SOCK_DGRAM) as receiver, ours.socket(ours.AF_UNIX, ours.SOCK_DGRAM) as sender:
            receiver.bind(str(tmp_path / "receiver"))
            sender.setblocking(False)
            count = 0
            with pytest.raises(BlockingIOError):
                while True:
                    sender.sendto(b"x", str(tmp_path / "receiver"))
                    count += 1
            sender.setblocking(True)
            late = spawn(sender.sendto, b"late", str(tmp_path / "receiver"))
            while late.state != "parked":
                sleep(0)
            assert [receiver.recv(10) for _ in range(count)] == [b"x"] * count
            assert late.get(timeout=5) == 4
            assert receiver.recv(10) == b"late"

    coopcore.run(body)
