"""The fixtures that the plugin brings."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

# The last of these keep it small: an inner session forgets what it imported, see conftest.
import coop_plugins.clock
import coop_plugins.scope
import coop_plugins.server
import coop_plugins.testing

if find_spec("httptools"):
    import coop_plugins.wsgi  # noqa: F401 - as said above

with_wsgi = pytest.mark.skipif(not find_spec("httptools"), reason="coop_plugins.wsgi needs httptools")
NEEDING_A_TASK = ["coop_clock", "hub", "sequencer", "serve", "stream_pair", "task_group", "wait_all_parked"]


def test_hub(run):
    run("@pytest.mark.coop\ndef test_it(hub):\n    assert hub is current_task().hub and hub.main is current_task()", passed=1)


@pytest.mark.parametrize("name", NEEDING_A_TASK)
def test_without_the_mark_it_is_an_error(run, name):
    result = run(f"def test_it({name}): pass", errors=1)
    result.stdout.fnmatch_lines([f"fixture '{name}' needs a test that runs in a task: mark test_it.py::test_it with @pytest.mark.coop."])


def test_task_group(run):
    run(
        """
        pytestmark = pytest.mark.coop(leaks=True)
        ended = []

        def work(seconds):
            try:
                sleep(seconds)
            finally:
                sleep(0) if seconds < 1 else None
                ended.append(seconds)

        def test_it(task_group):
            task_group.spawn(work, 0.001).join()
            task_group.spawn(work, 3600)
            sleep(0)
            assert ended == [0.001]

        def test_next():
            assert ended == [0.001, 3600]
        """,
        passed=2,
    )


def test_a_failure_in_a_task_group_cancels_the_test_and_is_told(run):
    result = run(
        """
        def boom():
            raise ValueError("boom")

        @pytest.mark.coop
        def test_it(task_group):
            task_group.spawn(boom)
            sleep(3600)

        @pytest.mark.coop
        def test_next():
            sleep(0)
        """,
        passed=1,
        failed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*ValueError: boom*", "*in task 'boom-*' of a TaskGroup, spawned at *test_it.py:* in test_it*"])


def test_free_port(run):
    run(
        """
        import socket

        bound = []

        def bind(port, where):
            try:
                with socket.create_server(("127.0.0.1", port)):
                    bound.append(where)
            except OSError:
                pass  # another process was faster

        @pytest.mark.parametrize("attempt", range(5))
        def test_plain(free_port, attempt):
            bind(free_port, "plain")

        @pytest.mark.coop
        @pytest.mark.parametrize("attempt", range(5))
        def test_marked(free_port, attempt):
            bind(free_port, "marked")

        def test_end():
            assert set(bound) == {"plain", "marked"}
        """,
        passed=11,
    )


def test_serve(run):
    run(
        """
        from coop_plugins.server import DatagramServer
        from coop_plugins.socket import create_connection, socket
        import socket as plain

        pytestmark = pytest.mark.coop(leaks=True)
        servers = []

        def echo(client, address):
            while data := client.recv(100):
                client.sendall(data)

        def test_it(serve):
            server = serve(echo)
            servers.append(server)
            with create_connection(server.address) as client:
                client.sendall(b"x")
                assert client.recv(1) == b"x"

        def test_stopped():
            assert servers[0].closed
            with pytest.raises(ConnectionRefusedError):
                create_connection(servers[0].address)

        def test_options(serve):
            assert serve(echo, spawn=3, backlog=5).backlog == 5

        def test_a_server_of_ones_own(serve):
            server = serve(DatagramServer(("127.0.0.1", 0), lambda data, address: server.sendto(data, address)))
            with socket(plain.AF_INET, plain.SOCK_DGRAM) as client:
                client.sendto(b"x", server.address)
                assert client.recv(1) == b"x"
        """,
        passed=4,
    )


@with_wsgi
def test_serve_wsgi(run):
    run(
        """
        from coop_plugins.socket import create_connection
        from coop_plugins.wsgi import WSGIServer
        from coop_pytest.fixtures import serving

        pytestmark = pytest.mark.coop(leaks=True)

        def app(environ, start_response):
            start_response("200 OK", [("Content-Length", "2")])
            return [b"hi"]

        def get(server):
            with create_connection(server.address) as client:
                client.sendall(b"GET / HTTP/1.1\\r\\nHost: here\\r\\nConnection: close\\r\\n\\r\\n")
                answer = b""
                while data := client.recv(1000):
                    answer += data
            return answer

        def test_an_application(serve):
            server = serve(wsgi=app, log=None)
            assert type(server) is WSGIServer
            assert get(server).startswith(b"HTTP/1.1 200 OK") and get(server).endswith(b"hi")

        def test_a_server_of_ones_own(serve):
            assert get(serve(WSGIServer(("127.0.0.1", 0), app, log=None))).endswith(b"hi")

        @pytest.fixture(scope="module")
        def website():
            with serving() as serve:
                yield serve(wsgi=app, log=None)

        @pytest.mark.parametrize("number", [1, 2])
        def test_in_a_wider_fixture(website, number):
            assert get(website).endswith(b"hi")
        """,
        passed=4,
    )


def test_serve_says_what_it_cannot(run):
    run(
        """
        from coop_plugins.server import StreamServer

        @pytest.mark.coop
        def test_it(serve):
            with pytest.raises(TypeError, match="^serve takes one thing to serve: a server, a handler of connections, or wsgi=application$"):
                serve()
            with pytest.raises(TypeError, match="^serve was given a server and the option 'backlog': give it to the server when that is made$"):
                serve(StreamServer(("127.0.0.1", 0), print), backlog=5)
        """,
        passed=1,
    )


def test_a_client_that_stays_does_not_hold_up_the_end(run):
    run(
        """
        from coop_plugins.socket import create_connection

        def handle(client, address):
            client.recv(1)

        @pytest.fixture
        def client(serve):
            with create_connection(serve(handle, spawn=5).address) as client:
                yield client

        @pytest.mark.coop(leaks=True)
        def test_it(client):
            sleep(0.01)
        """,
        passed=1,
    )


def test_coop_clock(run):
    result = run(
        """
        @pytest.mark.coop(clock="virtual")
        def test_it(coop_clock):
            began = coop_clock.now()
            task = spawn(sleep, 10)
            coop_clock.advance(9)
            assert not task.dead
            coop_clock.advance(2)
            assert task.dead
            assert coop_clock.now() - began == 11_000_000_000

        @pytest.mark.coop
        def test_real(coop_clock): pass
        """,
        passed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(
        ["fixture 'coop_clock' needs virtual time, but test_it.py::test_real runs on the epoll hub: mark it with @pytest.mark.coop(clock=\"virtual\")."]
    )


def test_tools(run):
    run(
        """
        pytestmark = pytest.mark.coop

        def test_order(sequencer):
            order = []

            def step(number):
                with sequencer(number):
                    order.append(number)

            coopcore.joinall([spawn(step, number) for number in (2, 0, 1)])
            assert order == [0, 1, 2]

        def test_parked(wait_all_parked):
            steps = []

            def work():
                for number in range(5):
                    sleep(0)
                    steps.append(number)
                Queue().get()

            spawn(work)
            wait_all_parked()
            assert steps == [0, 1, 2, 3, 4]

        def test_streams(stream_pair):
            one, other = stream_pair(most=3)
            sender = spawn(one.sendall, b"12345")
            sleep(0)
            assert not sender.dead, "there was room for all of it"
            assert other.recv(10) + other.recv(10) == b"12345"
            sender.join()
        """,
        passed=3,
    )


def test_ones_own_fixtures_of_these_names_come_first(run):
    names = ["free_port", *NEEDING_A_TASK]
    fixtures = "\n".join(f"@pytest.fixture\ndef {name}(): return 'mine'\n" for name in names)
    run(f"{fixtures}\ndef test_it({', '.join(names)}):\n    assert {{{', '.join(names)}}} == {{'mine'}}", passed=1)


@pytest.mark.slow(reason="a session of its own")
def test_they_are_documented(run_apart):
    result = run_apart("", "--fixtures")
    text = str(result.stdout)
    for name in ["free_port", *NEEDING_A_TASK]:
        _, _, rest = text.partition(f"\n{name} -- ")
        assert rest, name
        assert "no docstring" not in rest.partition("\n\n")[0]


def examples(tree):
    return [part.partition("```")[0] for part in (tree / "docs" / "pytest.md").read_text().split("```python\n")[1:]]


@with_wsgi
def test_the_examples_of_servers_in_the_documentation(run, tree):
    hello, website = (next(code for code in examples(tree) if name in code) for name in ("def hello(", "def website("))
    test = "@pytest.mark.coop\ndef test_website(website):\n    assert website.server_port > 0\n"
    run(f"from coop_plugins.socket import create_connection\n{hello}\n{website}\n{test}", passed=2)


def test_the_example_of_a_context_variable_in_the_documentation(run, tree):
    code = next(code for code in examples(tree) if "def logged_in(" in code)
    tests = "@pytest.mark.coop\n@pytest.mark.parametrize('number', [1, 2])\ndef test_it(logged_in, number):\n    assert user.get() == 'ada'\n"
    run(f"from contextvars import ContextVar\n{code}\n{tests}", passed=2)
