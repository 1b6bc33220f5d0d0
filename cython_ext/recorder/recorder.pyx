# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, binding=False
# cython: embedsignature=True, cdivision=True, auto_pickle=False
"""Recording and adapting: the calls an application makes on every request.

A trajectory's handle fills one block of memory (recorder.h); ending it queues that block, and the writer's thread
drains the queue into COPY streams. Nothing here waits for the database, unless a durability level asks for it.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_XDECREF
from libc.float cimport FLT_MAX
from libc.math cimport fabsf, isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset
cimport numpy as cnp

from kernels cimport import_active, sona_f32, sona_kernels
from recorder cimport *

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Mapping
from datetime import datetime

import numpy as np

import sona_pg._kernels  # PyCapsule_Import looks its parts up as attributes, so the module must be loaded
from sona_pg.errors import (
    ConfigError,
    DatabaseUnavailable,
    DimensionMismatch,
    InvalidValue,
    StorageError,
    TrajectoryError,
    WrongType,
)

cnp.import_array()
sona_watch_forks()

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size) except -1

cdef const sona_kernels *const *kernels = import_active()
cdef object UUID = uuid.UUID
cdef object log = logging.getLogger("sona_pg.recorder")
cdef str CLOSED = "the engine is closed: open another one"

cdef enum:
    RELEASE_GIL = 65536  # multiplications from which releasing the GIL pays
    MAX_INT4 = 0x7fffffff
    MAX_RECORD = 1 << 30
    MAX_FEATURES = 1024
    MAX_NAME = 1000  # bytes of a route, a source or a candidate id: they are parts of index keys
    MAX_LABEL = 10000  # bytes of a context label
    MAX_QUERY = 1 << 20  # bytes of a query's text
    KEPT_IDLE = 1 << 16  # bytes of unused blocks that an idle buffer keeps
    MAX_PARAMETERS = 100
    MOST_NAMED = 4096  # open trajectories kept for look-up by id
    MAX_PARAMETER_NAME = 200  # characters
    MAY_BE_TRUE_US = 60_000_000  # between two clocks that are both right, and a slow answer

include "trajectory.pxi"
include "arguments.pxi"
include "batch.pxi"
include "recent.pxi"
include "adapter.pxi"
include "spool.pxi"
include "hot_state.pxi"
include "hot_drain.pxi"
include "hot_shared.pxi"
include "hot_recording.pxi"


def keep_directions(cnp.ndarray rows not None):
    """Multiply, in place, each of ``rows`` (n, dim) that half precision would turn by a power of two; zeros stay."""
    cdef Py_ssize_t i, dim
    cdef float *first
    if (cnp.PyArray_NDIM(rows) != 2 or cnp.PyArray_TYPE(rows) != cnp.NPY_FLOAT32
            or not cnp.PyArray_ISCARRAY(rows)):
        raise InvalidValue(f"rows is an array of {(<object> rows).dtype}, shape {(<object> rows).shape}: expected a "
                           "writable C-contiguous (n, dim) float32 array")
    dim = cnp.PyArray_DIM(rows, 1)
    first = <float *> cnp.PyArray_DATA(rows)
    for i in range(cnp.PyArray_DIM(rows, 0) if dim else 0):
        sona_keep_direction(first + i * dim, dim)


cdef class HotPath(RecordingPath):
    """Request path of an engine: record trajectories and feedback, apply adapters.

    Safe from many threads; one thread at a time may drain.

    A record is accepted or refused atomically, under the lock of the buffer or of the spool. ``refuse_records`` takes the
    same lock: records accepted before it can be drained, and every later one raises.
    """

    def set_adapters(self, Adapter micro, base_layers=()):
        """Serve these adapters from now on: calls that run finish with the ones before."""
        cdef tuple layers = tuple(base_layers)
        for adapter in (micro, *layers):
            if adapter is not None and (<Adapter?> adapter).dim != self.dim:
                raise DimensionMismatch(self.dim, (<Adapter> adapter).dim, "adapter")
        with cython.critical_section(self):
            self.micro = micro
            self.base = layers

    def apply_micro_lora(self, x, out=None):
        """Return ``x + scale B^T A x`` with the micro adapter; x is (dim,) or (n, dim), the result float32.

        Without an adapter the result is a copy of x. With ``out`` nothing is allocated; it may be x itself.
        """
        cdef Adapter adapter
        if self.generation != sona_fork_generation() and self.renew is not None and self.closed is None:
            self.renew(False)
        with cython.critical_section(self):
            adapter = self.micro
        return apply(adapter, self.dim, x, out)

    def apply_base_lora(self, layer, x, out=None):
        """The same with the base adapter of a layer."""
        cdef tuple layers
        if self.generation != sona_fork_generation() and self.renew is not None and self.closed is None:
            self.renew(False)
        with cython.critical_section(self):
            layers = self.base
        cdef Py_ssize_t index = whole(layer, "layer")
        if not 0 <= index < len(layers):
            raise InvalidValue(f"layer is {layer!r}, expected 0 to {len(layers) - 1}: the adapter has {len(layers)} layers")
        return apply(layers[index], self.dim, x, out)


def with_records(dict paths not None):
    """Return the keys of ``paths``, hot paths of this process, with unsettled records."""
    cdef list found = []
    cdef HotPath hot
    for key, value in paths.items():
        hot = <HotPath?> value
        if hot.usable() and hot.settled != (
            sona_spool_at(hot.spool.c).appended if hot.spool is not None else sona_ring_pushed(hot.ring.c)
        ):
            found.append(key)
    return found
