"""The resolver's contract: one that asks the system keeps it, and each of its tests finds a fault."""

from __future__ import annotations

import socket

import pytest

from coopcore.testing import ResolverContract

from .seams.mutants import check_mutant, untried


class SystemResolver:
    """The standard module's functions."""

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        return socket.getaddrinfo(host, port, family, type, proto, flags)

    def gethostbyname(self, hostname):
        return socket.gethostbyname(hostname)

    def gethostbyname_ex(self, hostname):
        return socket.gethostbyname_ex(hostname)

    def gethostbyaddr(self, ip_address):
        return socket.gethostbyaddr(ip_address)

    def getnameinfo(self, sockaddr, flags):
        return socket.getnameinfo(sockaddr, flags)

    def close(self):
        pass


class TestSystemResolver(ResolverContract):
    def make(self):
        return SystemResolver()


def answering(change):
    """A resolver whose ``getaddrinfo`` has a fault: ``change(question, ask)``."""

    class Faulty(SystemResolver):
        def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
            return change((host, port, family, type, proto, flags), super().getaddrinfo)

    return Faulty


def nobody(question, ask):
    raise socket.gaierror(socket.EAI_AGAIN, "not now")


def any_type(question, ask):
    host, port, family, _, _, flags = question
    return ask(host, port, family, 0, 0, flags)


def any_host(question, ask):
    _, *more, flags = question
    return ask("localhost", *more, flags & ~socket.AI_NUMERICHOST)


def no_error(question, ask):
    try:
        return ask(*question)
    except socket.gaierror:
        return []


def no_number(question, ask):
    try:
        return ask(*question)
    except socket.gaierror as error:
        raise socket.gaierror(str(error)) from None


def no_host_is_an_error(question, ask):
    if question[0] is None:
        raise socket.gaierror(socket.EAI_NONAME, "no host")
    return ask(*question)


_kept = {}


def one_list(question, ask):
    if question not in _kept:
        _kept[question] = ask(*question)
    return _kept[question]


class Once(SystemResolver):
    closed = False

    def close(self):
        assert not self.closed
        self.closed = True


class Named(SystemResolver):
    def getnameinfo(self, sockaddr, flags):
        return ("localhost", "http")


MUTANTS = [
    (object, ["test_it_has_every_method"]),
    (answering(nobody), ["test_numeric_addresses_are_answered_as_the_system_does", "test_family_type_and_protocol_narrow_the_answer"]),
    (answering(no_host_is_an_error), ["test_no_host_is_this_one"]),
    (answering(any_type), ["test_no_host_is_this_one", "test_family_type_and_protocol_narrow_the_answer"]),
    (answering(any_host), ["test_a_number_alone_was_asked_for", "test_the_wrong_family_is_an_error"]),
    (answering(no_error), ["test_a_number_alone_was_asked_for", "test_an_unknown_service_is_an_error", "test_the_wrong_family_is_an_error"]),
    (answering(no_number), ["test_a_number_alone_was_asked_for", "test_an_unknown_service_is_an_error"]),
    (answering(one_list), ["test_its_answers_are_the_callers"]),
    (Once, ["test_it_is_closed_with_its_hub_and_may_be_closed_again"]),
    (Named, ["test_names_of_numbers"]),
]


@pytest.mark.parametrize(("make", "tests"), MUTANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_contract_finds_a_fault(make, tests):
    _kept.clear()
    check_mutant(ResolverContract, make, tests)


def test_each_test_of_the_contract_can_fail():
    assert not untried(ResolverContract, MUTANTS)
