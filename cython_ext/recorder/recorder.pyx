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
from libc.math cimport isfinite
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

include "trajectory.pxi"
include "arguments.pxi"
include "batch.pxi"
include "adapter.pxi"
include "spool.pxi"


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


cdef class HotPath:
    """Request path of an engine: record trajectories and feedback, apply adapters.

    Safe from many threads; one thread at a time may drain.

    A record is accepted or refused atomically, under the lock of the buffer or of the spool. ``refuse_records`` takes the
    same lock: records accepted before it can be drained, and every later one raises.
    """

    cdef readonly Py_ssize_t dim
    cdef readonly Py_ssize_t capacity
    cdef size_t max_bytes
    cdef Ring ring
    cdef Adapter micro
    cdef tuple base
    cdef bint enabled
    cdef unsigned generation  # of forks: the process in which this records
    cdef object closed  # reason why recording has ended; None before
    cdef object wake  # called when half of the ring is full
    cdef object confirm  # called with (recorded_count, id) after each record; returns once it is committed
    cdef object shown  # called with shown candidates; returns the number of their set
    cdef object room  # called when the ring is full; returns once there is room
    cdef object shared  # called for trajectories that are not open in this process
    cdef object renew  # called in a forked child with whether it must record; None: it must not
    cdef SpoolFile spool
    cdef int64_t since_1970  # microseconds to add to the monotonic clock: the database's time, as last measured
    cdef readonly Py_ssize_t overridden_count  # decisions whose route was not taken
    cdef int64_t last_sequence  # of feedback whose sequence was not given
    cdef uint64_t settled  # records settled by the writer

    def __init__(self, dim, capacity, buffer_bytes):
        if self.ring is not None:
            raise ConfigError("a HotPath is initialised once")
        if not 1 <= dim <= SONA_MAX_VECTOR:
            raise ConfigError(f"dim={dim!r} cannot work: expected a whole number from 1 to {SONA_MAX_VECTOR}")
        if capacity < 1 or buffer_bytes < 1 << 16:
            raise ConfigError(
                f"capacity={capacity!r} with buffer_bytes={buffer_bytes!r} cannot work: expected 1 or more trajectories"
                " in 65536 bytes or more"
            )
        cdef Ring ring = Ring.__new__(Ring)
        self.dim = dim
        self.capacity = capacity
        self.max_bytes = buffer_bytes
        ring.c = sona_ring_new(self.capacity, self.max_bytes)
        if ring.c is NULL:
            raise MemoryError()
        self.generation = ring.generation = sona_fork_generation()
        self.since_1970 = sona_wall_us() - sona_monotonic_ns() // 1000
        self.enabled = True
        self.base = ()
        self.ring = ring

    # -- recording --------------------------------------------------------------------------------------------

    def begin_trajectory(
        self, embedding, *, query=None, ranking=None, decision=None, candidates=None, id=None, started_at=None
    ):
        """Start recording one interaction; the embedding is copied at once.

        Args:
            embedding: (dim,) float32; other floats are converted. It is stored in half precision; a very short one is
                stored multiplied by a power of two, so that its direction is kept.
            query: the text of the query, if it is to be stored.
            ranking: the ranking of the candidates; its ``version`` and ``candidate_set`` are stored.
            decision: the decision that chose the route; its ``route``, ``propensity``, ``cost`` and ``features`` are
                stored as well. If another route is taken in the end, call ``set_trajectory_route``, which drops the
                data of the decision's route.
            candidates: the candidate set of the route, if neither a ranking nor a decision has one: ids known to the
                store, or a mapping of ids to embeddings (dim,), which it then keeps. With the alternatives known, the
                learning gradient is exact.
            id: an id of the caller's own: a UUIDv7, or with ``started_at`` any text or UUID, from which one is made.
                The same id is stored once, however often it is recorded.
            started_at: when it began, of what was logged earlier: it is stored under that time. Its latency is unknown
                unless ``end_trajectory`` tells it.

        Raises:
            InvalidValue: the candidates are invalid, or are given twice.
            DimensionMismatch: the embedding is not as long as the space's.
            InvalidValue: a value is not finite, or beyond ±65504, or all of them are 0.
            TrajectoryError: the engine is closed.
        """
        cdef size_t embedding_bytes = 4 * <size_t> self.dim
        cdef cnp.ndarray values = floats(embedding, "embedding")
        cdef Py_ssize_t n = cnp.PyArray_DIM(values, 0)
        if n != self.dim:
            raise DimensionMismatch(self.dim, n)
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            self.open_here()
        cdef bytes told = None if id is None and started_at is None else told_id(id, started_at)
        cdef Ring ring = self.ring
        cdef Trajectory t = Trajectory.__new__(Trajectory)
        t.ring = ring
        t.began = sona_monotonic_ns()
        t.block = take(ring, sona_padded(embedding_bytes), t.began)
        if told is not None:
            memcpy(t.block.record.id, PyBytes_AS_STRING(told), 16)
            t.logged = started_at is not None
        cdef sona_record *record = &t.block.record
        cdef uint8_t *to = <uint8_t *> (record + 1)
        record.kind = SONA_TRAJECTORY
        record.dim = <uint32_t> n
        record.size += <uint32_t> sona_padded(embedding_bytes)
        if not sona_copy_checked(to, <const sona_f32 *> cnp.PyArray_DATA(values), n):
            raise out_of_range(values, "embedding")
        if not sona_keep_direction(<float *> to, n):  # the copy: a caller's memory may lie anywhere
            raise InvalidValue(
                "embedding is all 0: it points in no direction, so nothing could be learned from it or found by it; "
                "check the embedder, or leave such a query out"
            )
        if n & 1:
            memset(to + embedding_bytes, 0, 4)
        memcpy(t.name, record.id, 16)
        if query is not None:
            add_text(&t.block, SONA_QUERY, query, "query", 0, MAX_QUERY)
        if ranking is not None:
            set_policy(t.block, ranking, "ranking")
        if decision is not None:
            set_policy(t.block, decision, "decision")
            set_propensity(t.block, decision.propensity)
            set_cost(t.block, getattr(decision, "cost", None))
            add_features(&t.block, getattr(decision, "features", None))
            if decision.route is not None:
                add_text(&t.block, SONA_ROUTE, decision.route, "decision.route", 1, MAX_NAME)
        if candidates is not None:
            if self.shown is None or ranking is not None or decision is not None:
                raise InvalidValue("candidates= goes with an engine, and with neither ranking= nor decision=")
            named = self.shown(candidates)
            if named is not None:  # else the set is not stored: there was no room
                t.block.record.candidate_set = whole(named, "candidate_set")
                t.block.record.flags |= SONA_HAS_CANDIDATES
        t.begun = True
        return t

    def add_step(self, trajectory, activations=None, attention_weights=None, reward=0.0):
        """Record one step: activations, attention weights and reward.

        Args:
            activations: (any,) float32, or none.
            attention_weights: (any,) float32, or none.
            reward: in [-1e6, 1e6].
        """
        self.step(trajectory, activations, attention_weights, reward)

    def add_trajectory_step(self, trajectory, activations=None, attention_weights=None, reward=0.0):
        """The same as ``add_step``."""
        self.step(trajectory, activations, attention_weights, reward)

    cdef int step(self, trajectory, activations, attention_weights, reward) except -1:
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            self.shared_call(trajectory, "add_step", activations, attention_weights, reward)
            return 0
        cdef double value = number(reward, "reward")
        cdef cnp.ndarray first = None
        cdef cnp.ndarray second = None
        cdef int64_t now
        if activations is not None:
            first = floats(activations, "activations")
        if attention_weights is not None:
            second = floats(attention_weights, "attention_weights")
        if not -1e6 <= value <= 1e6:
            raise InvalidValue(f"reward is {value!r}, expected a number from -1e6 to 1e6")
        with cython.critical_section(t):
            now = sona_monotonic_ns()
            self.opened(t)
            append_step(t, now, <float> value, first, second)
        return 0

    def set_trajectory_route(self, trajectory, route):
        """Set the chosen model or action; the last call counts.

        A route other than the decision's overrides the decision: its propensity, cost and candidates, which belong to a
        route that did not run, are dropped, and off-policy evaluation leaves the trajectory out. The first time is
        logged, ``overridden_count`` counts them.
        """
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "set_trajectory_route", route)
        cdef bint overridden = False
        with cython.critical_section(t):
            self.opened(t)
            add_text(&t.block, SONA_ROUTE, route, "route", 1, MAX_NAME)
            if is_overridden(&t.block.record, route):
                overridden = True
                t.block.record.flags &= ~(SONA_HAS_PROPENSITY | SONA_HAS_COST | SONA_HAS_CANDIDATES)
                t.block.record.propensity = t.block.record.cost = 0.0
                t.block.record.candidate_set = 0
        if overridden:
            self.overridden_count += 1
            (log.warning if self.overridden_count == 1 else log.debug)(
                "trajectory %s takes route %r, not the one that its decision chose: the decision's propensity and cost "
                "are dropped, and off-policy evaluation leaves it out", id_of(t), route
            )

    def add_trajectory_context(self, trajectory, context):
        """Add a label, such as ``user:42``."""
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "add_trajectory_context", context)
        with cython.critical_section(t):
            self.opened(t)
            add_text(&t.block, SONA_CONTEXT, context, "context", 0, MAX_LABEL)
            t.block.record.contexts += 1

    def set_trajectory_parameters(self, trajectory, parameters):
        """Set the parameters of the call, such as ``{"temperature": 0.2, "top_k": 40}``; the last call counts.

        Patterns learn which parameters went well: see ``SonaEngine.interpolate_parameters``.

        Args:
            parameters: numbers within ±1e15 by name, at most 100.
        """
        text = parameters_text(parameters)
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "set_trajectory_parameters", parameters)
        with cython.critical_section(t):
            self.opened(t)
            add_text(&t.block, SONA_PARAMETERS, text, "parameters", 0, MAX_QUERY)

    def end_trajectory(self, trajectory, quality=None, *, latency=None):
        """Finish recording: the trajectory, a handle or its id, goes to the writer.

        Its latency is the time since it began, unless ``latency`` tells it, in seconds.

        With durability ``memory`` this never waits: a full buffer refuses the trajectory and counts it in
        ``dropped_count``, unless ``IngestConfig.when_full`` is ``wait``. With ``spool`` it returns once the record is
        in a file, with ``sync`` once it is committed. While the engine is being closed, by another thread or by a
        signal handler, it is accepted, and written before ``close`` is done, or it raises.

        Raises:
            InvalidValue: quality is outside [0, 1], or latency is negative.
            TrajectoryError: it has ended before, or no such id is open, here or as a shared one in the store; it belongs
                to another engine, or to the process that forked this one; or the engine is closed.
            StorageError: (spool) the record cannot be written; the trajectory stays open.
            DatabaseUnavailable: (sync) it is not committed; (wait) no room was made in time.
        """
        cdef double value = 0.0
        cdef sona_block *block
        cdef sona_record *record
        cdef int queued
        cdef Trajectory t = handle_of(trajectory)
        if t is None:
            return self.shared_call(trajectory, "end_trajectory", quality, latency)
        cdef int32_t told_latency = -1 if latency is None else latency_of(latency)
        if quality is not None:
            value = fraction(quality, "quality")
        with cython.critical_section(t):
            record = self.opened(t)
            record.latency_us = told_latency
            if latency is None and not t.logged:
                record.latency_us = microseconds(sona_monotonic_ns() - t.began)
            if quality is not None:
                record.quality = <float> value
                record.flags |= SONA_HAS_QUALITY
            else:
                record.flags &= ~SONA_HAS_QUALITY
            block = t.block
            t.block = NULL
        if t.told:
            named.pop(t.name[:16], None)
        if not self.enabled:
            sona_block_give(self.ring.c, block)
            return
        try:
            queued = self.store(block, self.confirm is not None)
        except BaseException:
            t.block = block
            if t.told:
                named[t.name[:16]] = t
            raise
        self.announce(queued, t.name[:16] if self.confirm is not None else None)

    def record_feedback(
        self, trajectory_id, *, quality=None, correction=None, source="user", sequence=None, retract=False
    ):
        """Record a fact about a trajectory's quality, now or weeks after it; returns its sequence number.

        While recording is switched off (``set_enabled``) it is checked and forgotten, as trajectories are.

        Args:
            trajectory_id: a ``uuid.UUID`` or a handle; the trajectory may come later, or never.
            quality: in [0, 1].
            correction: the id of the candidate that would have been right.
            source: name of the source, such as ``user``. The highest sequence of a source counts.
            sequence: for facts that may be sent twice; by default the database's time in microseconds since 1970,
                estimated by ``set_clock_ahead``, strictly increasing.
            retract: take back this source's earlier facts.

        Raises:
            InvalidValue: it has neither quality nor correction nor retraction, or a value is out of range.
            TrajectoryError: the engine is closed.
            DatabaseUnavailable: the buffer is full, so it is not recorded; or (sync) it is not committed.
        """
        cdef double value = 0.0
        cdef int64_t order
        cdef bytes name
        cdef int queued
        cdef bint enabled = self.enabled
        if isinstance(trajectory_id, UUID):
            name = trajectory_id.bytes
        elif isinstance(trajectory_id, Trajectory):
            name = (<Trajectory> trajectory_id).name[:16]
        else:
            raise InvalidValue(f"trajectory_id is {trajectory_id!r}, expected a uuid.UUID")
        if retract and not (quality is None and correction is None):
            raise InvalidValue("retract=True takes back earlier feedback: give neither quality nor correction with it")
        if not retract and quality is None and correction is None:
            raise InvalidValue("feedback says nothing: give quality, correction or retract=True")
        if quality is not None:
            value = fraction(quality, "quality")
        order = self.next_sequence() if sequence is None else whole(sequence, "sequence")
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            self.open_here()
        cdef Ring ring = self.ring
        cdef sona_block *block = take(ring, 0, sona_monotonic_ns())
        try:
            memcpy(block.record.id, PyBytes_AS_STRING(name), 16)
            block.record.kind = SONA_FEEDBACK
            block.record.sequence = order
            block.record.recorded_at = order if sequence is None else self.database_us()
            if sequence is not None:
                block.record.flags |= SONA_SEQUENCE_GIVEN
            if quality is not None:
                block.record.quality = <float> value
                block.record.flags |= SONA_HAS_QUALITY
            add_text(&block, SONA_SOURCE, source, "source", 1, MAX_NAME)
            if correction is not None:
                add_text(&block, SONA_CORRECTION, correction, "correction", 1, MAX_NAME)
            if enabled:
                queued = self.store(block, True)
        except BaseException:
            sona_block_give(ring.c, block)
            raise
        if enabled:
            self.announce(queued, name)
        else:
            sona_block_give(ring.c, block)
        return order

    def set_clock_ahead(self, microseconds, *, uncertainty=1000):
        """Set the skew of this machine's clock to the database's, which orders the feedback of all servers.

        From then on the monotonic clock is used, so changes of this machine's clock have no effect until the next
        measurement. A correction within the measurement's ``uncertainty`` (microseconds, 1000 at least) is left: servers
        whose clocks are right stay in order, however slowly the database has answered.
        """
        cdef int64_t ahead = whole(microseconds, "microseconds")
        cdef int64_t noise = max(1000, whole(uncertainty, "uncertainty"))
        cdef int64_t told = sona_wall_us() - ahead - sona_monotonic_ns() // 1000
        with cython.critical_section(self):
            if not -noise <= told - self.since_1970 <= noise:
                self.since_1970 = told

    cdef int64_t database_us(self) noexcept:
        return sona_monotonic_ns() // 1000 + self.since_1970

    cdef int64_t next_sequence(self) except? -1:
        cdef int64_t order
        with cython.critical_section(self):
            order = self.last_sequence = max(self.database_us(), self.last_sequence + 1)
        return order

    cdef object shared_call(self, trajectory, str call, object a=None, object b=None, object c=None):
        """Do a call on a trajectory that is open in the store, for it is not open in this process."""
        name = uuid_of(trajectory)
        if self.shared is None:
            raise TrajectoryError(f"trajectory {name} is not open in this process: it has ended, or was begun elsewhere")
        return self.shared(name, call, a, b, c)

    def shared_by(self, shared):
        """Set the callback for trajectories that are not open in this process: called with (id, call, three arguments)."""
        self.shared = shared

    def frame_of(self, Trajectory trajectory not None):
        """Return an open trajectory as bytes, which ``open_frame`` reads."""
        with cython.critical_section(trajectory):
            self.opened(trajectory)
            sona_frame_seal(kernels[0], trajectory.block)
            return (<const char *> &trajectory.block.frame)[:sizeof(sona_frame) + trajectory.block.record.size]

    def let_go(self, Trajectory trajectory not None):
        """Note that a trajectory is open in the store from now on: this process forgets its record."""
        with cython.critical_section(trajectory):
            self.opened(trajectory)
            sona_block_give(self.ring.c, trajectory.block)
            trajectory.block = NULL
            trajectory.elsewhere = True
        named.pop(trajectory.name[:16], None)

    def open_frame(self, bytes frame not None):
        """Return the trajectory that ``frame_of`` has given, open in this process; it has no latency of its own.

        Raises:
            StorageError: the bytes are none of this space's.
        """
        cdef const sona_record *record = NULL
        cdef size_t used = 0
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            self.open_here()
        cdef int state = sona_frame_read(
            kernels[0], <const uint8_t *> PyBytes_AS_STRING(frame), len(frame), self.dim, &record, &used
        )
        if state != SONA_FRAME_OK or record.kind != SONA_TRAJECTORY:
            raise StorageError(f"a shared trajectory of {len(frame)} bytes cannot be read: it is not of this space")
        cdef Trajectory t = Trajectory.__new__(Trajectory)
        t.ring = self.ring
        t.began = sona_monotonic_ns()
        t.block = sona_block_take(self.ring.c, sizeof(sona_frame) + record.size)
        if t.block is NULL:
            raise MemoryError()
        memcpy(&t.block.record, record, record.size)
        memcpy(t.name, record.id, 16)
        t.logged = t.begun = True
        return t

    def add_step_at(self, Trajectory trajectory not None, int64_t offset_us, activations, attention_weights, reward):
        """Record one step as ``add_step`` does, so many microseconds after the trajectory began."""
        cdef Trajectory t = trajectory
        with cython.critical_section(t):
            self.opened(t)
            append_step(
                t, t.began + 1000 * max(0, min(offset_us, <int64_t> MAX_INT4)), <float> number(reward, "reward"),
                None if activations is None else floats(activations, "activations"),
                None if attention_weights is None else floats(attention_weights, "attention_weights"),
            )

    cdef int open_here(self) except -1:
        """Make it usable in a forked child, or raise the reason why it is not."""
        if self.ring is not None and self.closed is None and self.renew is not None:
            self.renew(True)
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            raise unusable(self.ring, self.closed)
        return 0

    cdef sona_record *opened(self, Trajectory t) except NULL:
        """Record of an open handle of this process."""
        if t.ring is not None and t.ring.generation != sona_fork_generation():
            raise TrajectoryError(
                f"trajectory {id_of(t)} was begun before this process was forked: the process that began it ends it"
            )
        if t.ring is not self.ring or t.ring is None:
            raise TrajectoryError(f"trajectory {id_of(t)} belongs to another engine: use the one that began it")
        if t.block is NULL:
            raise TrajectoryError(f"trajectory {id_of(t)} has ended: begin a new one")
        if self.closed is not None or self.generation != sona_fork_generation():
            raise unusable(self.ring, self.closed)
        return &t.block.record

    cdef int store(self, sona_block *block, bint or_raise) except -1:
        """Queue a block or append it to the spool; return the argument of ``announce``.

        The caller keeps ownership of the block only if this raises: no Python code runs once it is queued.
        """
        cdef int queued
        if self.spool is not None:
            if self.spool.append(block) == SONA_SEALED:
                raise unusable(self.ring, self.closed if self.closed is not None else CLOSED)
            sona_block_give(self.ring.c, block)
            return 1
        queued = sona_ring_push(self.ring.c, block)
        while queued == 0 and self.room is not None:
            if block.capacity > self.max_bytes:
                raise InvalidValue(
                    f"a record takes {block.capacity} bytes, the whole buffer {self.max_bytes}: "
                    "raise IngestConfig.buffer_bytes, or record fewer steps"
                )
            self.room()
            queued = sona_ring_push(self.ring.c, block)
        if queued == SONA_SEALED:
            raise unusable(self.ring, self.closed if self.closed is not None else CLOSED)
        if queued == 0:
            sona_ring_count_drop(self.ring.c)
            if or_raise:
                raise DatabaseUnavailable(
                    f"the buffer is full ({sona_ring_pushed(self.ring.c) - sona_ring_taken(self.ring.c)} records wait "
                    "for Postgres): this one is not recorded; try again when the database answers"
                )
            sona_block_give(self.ring.c, block)
        return queued

    cdef int announce(self, int queued, bytes name) except -1:
        """Wake the writer if the buffer fills up, and wait for the record's commit if the durability asks for it."""
        if queued == 2 and self.wake is not None:
            self.wake()
        if self.confirm is not None:
            self.confirm(sona_ring_pushed(self.ring.c), name)
        return 0

    def set_enabled(self, bint enabled):
        """Switch recording on or off; while it is off, neither the end of a trajectory nor feedback records anything."""
        self.enabled = enabled

    def is_enabled(self):
        return self.enabled

    @property
    def recorded_count(self):
        """Records accepted in this process: trajectories and feedback."""
        if not self.usable():
            return 0
        return self.spool.appended if self.spool is not None else sona_ring_pushed(self.ring.c)

    @property
    def dropped_count(self):
        """Records refused because the buffer was full."""
        return sona_ring_dropped(self.ring.c) if self.usable() else 0

    @property
    def abandoned_count(self):
        """Trajectories that were begun and whose handle was dropped without an end."""
        return sona_ring_abandoned(self.ring.c) if self.usable() else 0

    @property
    def waiting(self):
        """Records in the buffer: accepted, and not drained yet."""
        return sona_ring_pushed(self.ring.c) - sona_ring_taken(self.ring.c) if self.usable() else 0

    cdef int usable(self) except -1:
        """Return whether the buffer belongs to this process: a forked child starts with its parent's."""
        if self.ring is None:
            raise unusable(None, None)
        return self.ring.generation == sona_fork_generation()

    # -- the writer's side ------------------------------------------------------------------------------------

    def attach(self, *, wake=None, confirm=None, room=None, SpoolFile spool=None):
        """Connect the writer: callbacks at half a buffer, after each record and for room; and the spool."""
        self.usable()
        self.room = room
        self.wake = wake
        self.confirm = confirm
        self.spool = spool

    def name_sets(self, shown):
        """Set the callback that numbers the candidate sets of ``begin_trajectory(..., candidates=)``."""
        self.shown = shown

    def refuse_records(self, reason=CLOSED):
        """Make recording raise with ``reason`` from now on; records accepted before can be drained."""
        self.closed = reason
        if self.usable():
            sona_ring_seal(self.ring.c)
            if self.spool is not None:
                self.spool.seal()

    def renewed_by(self, renew):
        """Set the callback of a forked child, which calls ``begin_again``, ``attach`` and ``opened_here``."""
        self.renew = renew

    def begin_again(self):
        """In a forked child: start with an empty buffer; the parent writes the records of the copied one."""
        self.usable()
        if self.generation == sona_fork_generation():
            raise TrajectoryError("begin_again is for forked children: this buffer was made in this process")
        cdef Ring ring = Ring.__new__(Ring)
        ring.c = sona_ring_new(self.capacity, self.max_bytes)
        if ring.c is NULL:
            raise MemoryError()
        ring.generation = sona_fork_generation()
        self.wake = self.confirm = self.room = self.shown = self.spool = None
        self.ring = ring

    def opened_here(self):
        """Record from now on: the buffer is new, and has a writer."""
        self.generation = self.ring.generation

    def drain(
        self, int64_t batch, int32_t space_id, Py_ssize_t max_rows=8192, size_t max_bytes=32 << 20, bint learn=True
    ):
        """Encode the oldest records as COPY streams and take them out of the buffer; None if there are none.

        Without ``learn`` the arrays for a learner are left out (``embeddings`` and ``step_activations`` are None).
        """
        self.usable()
        cdef Ring ring = self.ring
        if max_rows < 1:
            raise InvalidValue(f"max_rows is {max_rows}, expected 1 or more")
        if not sona_ring_begin(ring.c):
            raise TrajectoryError("another thread is draining this buffer: there can be one writer only")
        cdef size_t rows = min(max_rows, self.capacity)
        cdef sona_block **blocks = <sona_block **> PyMem_Malloc(2 * rows * sizeof(void *))
        cdef const sona_record **records = <const sona_record **> (blocks + rows)
        cdef size_t n, i
        try:
            if blocks is NULL:
                raise MemoryError()
            with nogil:
                n = sona_ring_peek(ring.c, blocks, rows, max_bytes)
                for i in range(n):
                    records[i] = &blocks[i].record
            if n == 0:
                return None
            encoded = encode(records, n, self.dim, batch, space_id, learn)
            with nogil:
                sona_ring_release(ring.c, blocks, n)
            return encoded
        finally:
            PyMem_Free(blocks)
            sona_ring_end(ring.c)

    def settle(self, uint64_t n):
        """Set the number of records settled by the writer; ``with_records`` finds the recorders with more."""
        self.settled = n

    def trim(self, size_t keep=KEPT_IDLE):
        """Free unused memory of a burst, except ``keep`` bytes; return the number of bytes freed."""
        cdef size_t freed
        if not self.usable() or not sona_ring_begin(self.ring.c):
            return 0
        with nogil:
            freed = sona_ring_trim(self.ring.c, keep)
        sona_ring_end(self.ring.c)
        return freed

    def spill(self, SpoolFile file not None):
        """Append the records of the buffer to a spool and take them out of the buffer; return how many.

        Raises:
            StorageError: the file cannot be written; records not in it are still in the buffer.
        """
        self.usable()
        cdef Ring ring = self.ring
        cdef sona_block *block
        cdef size_t n = 0
        if not sona_ring_begin(ring.c):
            raise TrajectoryError("another thread is draining this buffer: there can be one writer only")
        try:
            while sona_ring_peek(ring.c, &block, 1, 1):
                if file.append(block) == SONA_SEALED:
                    raise StorageError(f"the spool in {file.folder} is sealed: open another one")
                sona_ring_release(ring.c, &block, 1)
                n += 1
        finally:
            sona_ring_end(ring.c)
        return n

    # -- adapting ---------------------------------------------------------------------------------------------

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
