# The handle of a trajectory, and the queue that keeps its memory.


@cython.final
@cython.no_gc
cdef class Ring:
    """Owns the queue: handles keep it alive when they outlive their engine."""

    cdef sona_ring *c
    cdef unsigned generation  # of forks: a child has a copy of its parent's queue, and leaves it alone

    def __dealloc__(self):
        sona_ring_free(self.c)


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Trajectory:
    """A trajectory that is being recorded. One that is dropped without an end is counted in ``abandoned_count``."""

    cdef Ring ring
    cdef sona_block *block  # NULL once it has ended
    cdef int64_t began
    cdef uint8_t name[16]
    cdef bint begun  # begin_trajectory has returned it

    def __dealloc__(self):
        if self.block is NULL:
            return
        if self.ring.generation != sona_fork_generation():  # a lock of its ring may be held for ever
            sona_block_free(self.block)
            return
        if self.begun:
            sona_ring_count_abandoned(self.ring.c)
        sona_block_give(self.ring.c, self.block)

    @property
    def id(self):
        """The trajectory's UUIDv7; it stays valid after the end."""
        return UUID(bytes=self.name[:16])

    @property
    def ended(self):
        return self.block is NULL

    def __repr__(self):
        return f"<Trajectory {self.id} {'ended' if self.block is NULL else 'open'}>"


cdef int append_step(Trajectory t, int64_t now, float reward, cnp.ndarray first, cnp.ndarray second) except -1:
    """Write a step behind the record; only the last lines make it part of the record."""
    cdef Py_ssize_t n = 0 if first is None else cnp.PyArray_DIM(first, 0)
    cdef Py_ssize_t m = 0 if second is None else cnp.PyArray_DIM(second, 0)
    cdef size_t size = sizeof(sona_step) + 4 * <size_t> (n + m)
    if n > SONA_MAX_VECTOR or m > SONA_MAX_VECTOR:
        raise InvalidValue(
            f"a step has {n} activations and {m} attention weights, expected at most {SONA_MAX_VECTOR} of each"
        )
    if t.block.record.step_count == SONA_MAX_STEPS:
        raise TrajectoryError(f"a trajectory has {SONA_MAX_STEPS} steps at most: end it and begin another")
    cdef sona_item *item = append(&t.block, SONA_STEP, size)
    cdef sona_record *record = &t.block.record
    cdef sona_step *step = <sona_step *> (item + 1)
    cdef uint8_t *to = <uint8_t *> (step + 1)
    step.offset_us = <uint32_t> microseconds(now - t.began)
    step.reward = reward
    step.activations = <uint32_t> n
    step.attention = <uint32_t> m
    if n and not sona_copy_checked(to, <const sona_f32 *> cnp.PyArray_DATA(first), n):
        raise out_of_range(first, "activations")
    to += 4 * n
    if m and not sona_copy_checked(to, <const sona_f32 *> cnp.PyArray_DATA(second), m):
        raise out_of_range(second, "attention_weights")
    if (n + m) & 1:
        memset(to + 4 * m, 0, 4)
    record.size += <uint32_t> (sizeof(sona_item) + sona_padded(size))
    record.step_count += 1
    record.floats += <uint32_t> (n + m)
    record.full_steps += <uint32_t> n == record.dim
    return 0
