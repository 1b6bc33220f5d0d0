"""One thread for the linear algebra of learning."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Hold BLAS to one thread: the matrices are small, an app server has other work for its cores.

    A product's rounding depends on how many threads share it, so a rebuild must use the same number.
    """
    held: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return held


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds
