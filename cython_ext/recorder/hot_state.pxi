# State of a hot path: its buffer, its clock, its callbacks, and the queueing of a record.

cdef class HotState:
    """Buffer of an engine with its counters and callbacks; see ``HotPath``."""

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
    cdef object judged  # a deque of rankings that were shown, and of facts (recent.pxi); None: they are not kept
    cdef object room  # called when the ring is full; returns once there is room
    cdef object shared  # called for trajectories that are not open in this process
    cdef object renew  # called in a forked child with whether it must record; None: it must not
    cdef SpoolFile spool
    cdef int64_t since_1970  # microseconds to add to the monotonic clock: the database's time, as last measured
    cdef bint measured  # whether the database has told its time
    cdef readonly int64_t guessed_since_1970  # the former until then, by this machine's clock when recording began
    cdef readonly int64_t correction  # microseconds to add to the times of feedback recorded until then
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
        if not self.measured:  # a forked child keeps what its parent has measured
            self.since_1970 = self.guessed_since_1970 = sona_wall_us() - sona_monotonic_ns() // 1000
        self.enabled = True
        self.base = ()
        self.ring = ring

    def set_clock_ahead(self, microseconds, *, uncertainty=1000):
        """Set the skew of this machine's clock to the database's, whose time ids and feedback of all servers carry.

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
            if not self.measured:
                self.correction = self.correction_of(self.guessed_since_1970)
                if self.correction:
                    if self.judged is not None:  # notes of feedback bear the times that were guessed
                        self.judged.append((self.guessed_since_1970, self.last_sequence, self.correction))
                    self.last_sequence += self.correction
            self.measured = True

    @property
    def knows_time(self):
        """Whether the database has told its time."""
        return self.measured

    cpdef int64_t correction_of(self, int64_t guessed_since_1970) noexcept:
        """Return the microseconds by which times were guessed too early; 0 for up to a minute, which may be true.

        ``guessed_since_1970`` are the microseconds from the monotonic clock to those times.
        """
        cdef int64_t late = self.since_1970 - guessed_since_1970
        return 0 if -MAY_BE_TRUE_US <= late <= MAY_BE_TRUE_US else late

    cdef int64_t id_time(self) noexcept:
        return self.since_1970 if self.measured else SONA_UNMEASURED

    cdef int64_t database_us(self) noexcept:
        return sona_monotonic_ns() // 1000 + self.since_1970

    cdef int64_t time_of_feedback(self, bint in_order, bint *guessed) except? -1:
        """Return the time, ``in_order`` later than all told so before, and whether the database's is not known yet."""
        cdef int64_t at
        with cython.critical_section(self):
            at = self.database_us()
            guessed[0] = not self.measured
            if in_order:
                at = self.last_sequence = max(at, self.last_sequence + 1)
        return at

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

    cdef int open_here(self) except -1:
        """Make it usable in a forked child, or raise the reason why it is not."""
        if self.ring is not None and self.closed is None and self.renew is not None:
            self.renew(True)
        if self.ring is None or self.closed is not None or self.generation != sona_fork_generation():
            raise unusable(self.ring, self.closed)
        return 0

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

    def keep_judged(self, judged):
        """Append to the deque ``judged`` from now on: rankings that were shown, and facts; see ``recent.pxi``."""
        self.judged = judged

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
        self.wake = self.confirm = self.room = self.shown = self.judged = self.spool = None
        self.ring = ring

    def opened_here(self):
        """Record from now on: the buffer is new, and has a writer."""
        self.generation = self.ring.generation

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
