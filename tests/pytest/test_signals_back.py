"""Between tests the process's wake-up descriptor for signals is what it was: other frameworks look at it."""

from __future__ import annotations


def test_hubs_invariant_1_the_wake_up_descriptor_is_given_back(run):
    run(
        """
        import os, signal, socket
        mine, other = socket.socketpair()
        mine.setblocking(False)

        def wakeup_fd():
            fd = signal.set_wakeup_fd(-1)
            signal.set_wakeup_fd(fd)
            return fd

        @pytest.fixture(scope="module")
        def outside():
            yield
            assert wakeup_fd() == mine.fileno()

        def test_before(outside):
            before.append(signal.set_wakeup_fd(mine.fileno()))

        before = []

        @pytest.mark.coop
        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(outside, turn):
            sleep(0.001)
            seen = []
            handler = signal.signal(signal.SIGUSR1, lambda *_: seen.append(True))
            os.kill(os.getpid(), signal.SIGUSR1)
            sleep(0.001)
            signal.signal(signal.SIGUSR1, handler)
            assert seen

        def test_after():
            assert wakeup_fd() == mine.fileno()

        @pytest.mark.coop
        def test_last(outside):
            sleep(0.001)

        def test_end():
            assert signal.set_wakeup_fd(before.pop()) == mine.fileno()
            mine.close()
            other.close()
        """,
        passed=6,
    )
