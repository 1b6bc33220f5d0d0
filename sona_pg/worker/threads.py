"""One thread for the linear algebra of learning."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread: the matrices are small, and an app server needs its cores for other work.

    The rounding of a product depends on the number of threads, so a rebuild must use the same number.
    """
    held: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return held


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes milliseconds
