# Appending to a spool, and decoding its frames. ingest/spool.py manages the folders.


@cython.final
@cython.no_gc
cdef class SpoolFile:
    """Appends records to the segments of a spool; safe from many threads, and from a signal handler.

    Args:
        folder: folder of the segments, 00000001 first; it has no other writer.
        segment_bytes: size at which a segment is full.
    """

    cdef sona_spool *c
    cdef readonly str folder

    def __cinit__(self, str folder not None, int64_t segment_bytes):
        self.folder = folder
        self.c = sona_spool_new(os.fsencode(folder), segment_bytes)
        if self.c is NULL:
            raise MemoryError()

    def __dealloc__(self):
        sona_spool_free(self.c)

    def position(self):
        """(segment, size, appended), read together."""
        cdef sona_spool_position at
        with nogil:
            at = sona_spool_at(self.c)
        return at.segment, at.size, at.appended

    def ended(self, int64_t segment):
        """Return (size, appended) at the end of a full segment; None for the current one.

        Drops the positions of earlier segments.
        """
        cdef sona_spool_position end
        cdef bint found
        with nogil:
            found = sona_spool_ended(self.c, segment, &end)
        return (end.size, end.appended) if found else None

    @property
    def segment(self):
        """Number of segments so far."""
        return self.position()[0]

    @property
    def size(self):
        """Bytes of complete frames in the current segment."""
        return self.position()[1]

    @property
    def appended(self):
        """Records, over all segments."""
        return self.position()[2]

    def seal(self):
        """Close the current segment and refuse further records; ``appended`` is final then."""
        with nogil:
            sona_spool_seal(self.c)

    def let_go(self):
        """In a forked child: close its copy of the descriptor, and refuse further records."""
        sona_spool_let_go(self.c)

    cdef int append(self, sona_block *block) except? -1:
        """Append a block: 0, or SONA_SEALED."""
        cdef int error
        with nogil:
            error = sona_spool_append(self.c, kernels[0], block)
        if error > 0:
            raise StorageError(
                f"the spool cannot be written ({self.folder}: {os.strerror(error)}): this record is not recorded; "
                "make room on the disk, or choose durability 'memory' or 'sync'"
            )
        return error


def encode_frames(
    data, Py_ssize_t dim, int64_t batch, int32_t space_id, Py_ssize_t max_rows=8192, bint learn=True,
    int64_t correction=0
):
    """Encode the frames at the start of ``data`` (bytes-like).

    ``correction``, in microseconds, is added to the times of feedback that was recorded before the database's was known.

    Returns:
        The batch (None if there is no whole frame), the number of bytes it came from, the number of records, and
        the rest: 'end', 'more' (whole frames that did not fit), 'torn' (the start of a frame) or 'bad'.
    """
    cdef size_t used = 0, step = 0, n = 0, total, rows = max_rows
    cdef int state = SONA_FRAME_OK
    cdef const uint8_t *start
    cdef const sona_record **records
    cdef Py_buffer view
    if max_rows < 1:
        raise InvalidValue(f"max_rows is {max_rows}, expected 1 or more")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    start, total = <const uint8_t *> view.buf, view.len
    records = <const sona_record **> PyMem_Malloc(rows * sizeof(void *))
    try:
        if records is NULL:
            raise MemoryError()
        with nogil:
            while n < rows and used < total:
                state = sona_frame_read(kernels[0], start + used, total - used, dim, &records[n], &step)
                if state != SONA_FRAME_OK:
                    break
                used += step
                n += 1
        encoded = encode(records, n, dim, batch, space_id, learn, correction) if n else None
    finally:
        PyMem_Free(records)
        PyBuffer_Release(&view)
    if used == total:
        return encoded, used, n, "end"
    return encoded, used, n, "more" if state == SONA_FRAME_OK else "torn" if state == SONA_FRAME_MORE else "bad"
