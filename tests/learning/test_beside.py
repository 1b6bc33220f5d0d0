"""Parts of a learning step that run beside each other."""

from __future__ import annotations

import threading

import pytest

from sona_pg.learning import beside as module
from sona_pg.learning.beside import beside


def test_the_block_runs_while_the_call_does():
    started, go = threading.Event(), threading.Event()

    def call() -> int:
        started.set()
        assert go.wait(10)
        return 7

    with beside(call) as result:
        assert started.wait(10)
        go.set()
        assert result() == 7


def test_the_error_of_a_call_is_raised_where_its_result_is_asked_for():
    with beside(lambda: [][0]) as result, pytest.raises(IndexError):
        result()


def test_after_the_block_the_call_has_ended_even_if_nobody_asked():
    ended: list[int] = []
    go = threading.Event()

    def call() -> None:
        assert go.wait(10)
        ended.append(1)

    with beside(call):
        go.set()
    assert ended == [1]


def test_where_no_thread_can_be_started_the_call_runs_here(monkeypatch):
    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(module.ThreadPoolExecutor, "submit", refuse)
    with beside(threading.get_ident) as result:
        assert result() == threading.get_ident()


def test_what_is_not_apart_runs_here_when_its_result_is_asked_for():
    ran: list[int] = []

    def call() -> None:
        ran.append(threading.get_ident())

    with beside(call, apart=False) as result:
        assert ran == []
        result()
    assert ran == [threading.get_ident()]
