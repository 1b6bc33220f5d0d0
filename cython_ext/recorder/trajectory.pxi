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
    cdef bint told  # its id was asked for while it was open: ``named`` has it
    cdef bint begun  # begin_trajectory has returned it
    cdef object account  # where the decision's cost is booked, or None
    cdef bint logged  # it began before it was recorded: nothing here knows how long it took
    cdef bint dated  # its caller told the time at which it began
    cdef readonly bint refused
    cdef bint elsewhere  # it was shared, or unpickled in another process: it is open in the store, if it is open

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
        """The trajectory's UUIDv7; it stays valid after the end, and stands for the handle in this process until then.

        An open trajectory whose id was asked for is kept until it has ended, or until more than 4,096 such are open.
        """
        cdef bytes name = self.name[:16]
        if self.block is not NULL and not self.told:
            self.told = True
            named[name] = self
            while len(named) > MOST_NAMED:
                named.pop(next(iter(named)), None)
        return uuid_from(name)

    @property
    def ended(self):
        return self.block is NULL and not self.elsewhere

    def __reduce__(self):
        """Pickle the id: in this process it gives the open trajectory, in another one that which is shared."""
        return handle_from, (self.id.bytes,)

    def __repr__(self):
        state = "open" if self.block is not NULL else "shared" if self.elsewhere else "ended"
        return f"<Trajectory {id_of(self)} {state}>"


def handle_from(bytes name not None):
    """The handle with these 16 bytes as its id."""
    cdef Trajectory t = named.get(name)
    if t is None:
        if len(name) != 16:
            raise InvalidValue(f"a handle has an id of {len(name)} bytes, expected 16")
        t = Trajectory.__new__(Trajectory)
        memcpy(t.name, PyBytes_AS_STRING(name), 16)
        t.elsewhere = True
    return t


cdef dict named = {}  # id -> open trajectory


cdef object set_int = UUID.int.__set__
cdef object set_safety = UUID.is_safe.__set__
cdef object UNKNOWN_SAFETY = uuid.SafeUUID.unknown


cdef object uuid_from(bytes name):
    """``UUID(bytes=name)``, in a third of its time."""
    cdef object made = UUID.__new__(UUID)
    set_int(made, int.from_bytes(name, "big"))
    set_safety(made, UNKNOWN_SAFETY)
    return made


cdef object id_of(Trajectory t):
    return uuid_from(t.name[:16])


cdef double began_at(Trajectory t):
    """Seconds since 1970 at which a trajectory began, by its id."""
    return int.from_bytes(t.name[:6], "big") / 1000.0


cdef object uuid_of(object trajectory):
    """The id of a trajectory given by handle or id."""
    if isinstance(trajectory, Trajectory):
        return id_of(<Trajectory> trajectory)
    if isinstance(trajectory, str):
        try:
            return UUID(trajectory)
        except ValueError as exc:
            raise InvalidValue(f"trajectory is {trajectory[:60]!r}, expected a handle, or its id") from exc
    if not isinstance(trajectory, UUID):
        raise TypeError(f"trajectory is {trajectory!r}, expected a handle, or its id")
    return trajectory


cdef Trajectory handle_of(object trajectory):
    """The open trajectory with this handle or id; None: it is not open in this process."""
    if isinstance(trajectory, Trajectory) and not (<Trajectory> trajectory).elsewhere:
        return <Trajectory> trajectory
    return named.get(uuid_of(trajectory).bytes)


cdef bint is_overridden(sona_record *record, object route) except -1:
    """Whether a decision chose another route than this one; it wrote its own first."""
    cdef size_t at = sizeof(sona_record) + sona_padded(4 * <size_t> record.dim)
    cdef Py_ssize_t size = 0
    cdef const char *utf8
    cdef sona_item *item
    if not record.flags & SONA_HAS_PROPENSITY or not isinstance(route, str):
        return False
    utf8 = PyUnicode_AsUTF8AndSize(route, &size)
    while at < record.size:
        item = <sona_item *> sona_record_at(record, at)
        if item.kind == SONA_ROUTE:
            return <Py_ssize_t> item.size != size or memcmp(item + 1, utf8, size) != 0
        at += sizeof(sona_item) + sona_padded(item.size)
    return False


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
