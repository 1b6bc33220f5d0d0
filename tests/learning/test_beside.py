"""Parts of a learning step that run beside each other."""

from __future__ import annotations

import threading

import pytest

from sona_pg.learning import beside as module
from sona_pg.learning.beside import beside


def test_the_block_runs_while_the_function_does():
    started, go = threading.Event(), threading.Event()

    def call() -> int:
        started.set()
        assert go.wait(10)
        return 7

    with beside() as start:
        result = start(call)
        assert started.wait(10)
        go.set()
        assert result() == 7


def test_a_function_that_waits_for_another_runs_in_the_caller_that_needs_its_result():
    busy, go = threading.Event(), threading.Event()

    def first() -> int:
        busy.set()
        assert go.wait(10)
        return threading.get_ident()

    with beside() as start:
        before, after = start(first), start(threading.get_ident)
        assert busy.wait(10)
        assert after() == threading.get_ident()
        go.set()
        assert before() != threading.get_ident()


def test_the_error_of_a_function_is_raised_where_its_result_is_asked_for():
    with beside() as start, pytest.raises(IndexError):
        start(lambda: [][0])()


def test_after_the_block_nothing_runs_on():
    ended: list[int] = []
    busy, go = threading.Event(), threading.Event()

    def call() -> None:
        busy.set()
        assert go.wait(10)
        ended.append(1)

    with beside() as start:
        start(call)
        assert busy.wait(10)
        start(lambda: ended.append(2))
        go.set()
    assert ended in ([1], [1, 2])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sona-pg learning")]


def test_an_error_in_the_block_leaves_functions_that_have_not_begun():
    begun: list[int] = []
    busy, go = threading.Event(), threading.Event()

    def call() -> None:
        busy.set()
        assert go.wait(10)

    def block() -> None:
        with beside() as start:
            start(call)
            assert busy.wait(10)
            start(lambda: begun.append(1))
            threading.Timer(0.05, go.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert not begun


def test_where_no_thread_can_be_started_the_function_runs_here(monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(module.ThreadPoolExecutor, "submit", refuse)
    with beside() as start:
        assert start(threading.get_ident)() == threading.get_ident()


def test_what_is_not_apart_runs_here_when_its_result_is_asked_for():
    ran: list[int] = []
    with beside(apart=False) as start:
        result = start(lambda: ran.append(threading.get_ident()))
        assert ran == []
        result()
    assert ran == [threading.get_ident()]
