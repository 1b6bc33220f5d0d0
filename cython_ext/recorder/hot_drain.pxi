# A hot path's records for the writer.

cdef class DrainedPath(HotState):
    """The writer's side of a hot path."""

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
            encoded = encode(records, n, self.dim, batch, space_id, learn, self.correction)
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
