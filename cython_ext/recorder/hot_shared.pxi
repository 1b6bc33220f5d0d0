# Trajectories of a hot path that several processes share.

cdef class SharedPath(DrainedPath):
    """Trajectories that other processes continue."""

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
