# The append side of a spool, and reading its frames back. Which files there are is ingest/spool.py's business.


@cython.final
cdef class SpoolFile:
    """Appends records to the current segment of a spool; safe from many threads.

    Args:
        rotate: called under the lock, before the first record and when a segment is full; returns the file descriptor
            of the next, empty segment. It raises to refuse the record.
        segment_bytes: from which size on a segment is full.
    """

    cdef cython.pythread_type_lock lock
    cdef object rotate
    cdef int64_t segment_bytes
    cdef int file
    cdef readonly int64_t segment  # how many segments there have been
    cdef readonly int64_t size  # bytes of the current segment that are whole
    cdef readonly uint64_t appended  # records, over all segments

    def __init__(self, rotate, int64_t segment_bytes):
        self.rotate = rotate
        self.segment_bytes = segment_bytes
        self.file = -1

    def position(self):
        """(segment, size, appended), read together."""
        with self.lock:
            return self.segment, self.size, self.appended

    cdef int append(self, sona_block *block) except -1:
        cdef int error
        with self.lock:
            if self.file < 0 or self.size >= self.segment_bytes:
                self.file = self.rotate(self.segment + 1)
                self.segment += 1
                self.size = 0
            with nogil:
                sona_frame_seal(kernels[0], block)
                error = sona_frame_append(self.file, self.size, block)
            if error == 0:
                self.size += sizeof(sona_frame) + block.frame.length
                self.appended += 1
        if error != 0:
            raise StorageError(
                f"the spool cannot be written ({os.strerror(error)}): this record is not recorded; "
                "make room on the disk, or choose durability 'memory' or 'sync'"
            )
        return 0


def encode_frames(
    const uint8_t[::1] data, Py_ssize_t dim, int64_t batch, int32_t space_id, Py_ssize_t max_rows=8192,
    bint learn=True
):
    """Encode the frames that ``data`` begins with.

    Returns:
        The batch (None if there is no whole frame), the number of bytes it came from, the number of records, and
        what follows: 'end', 'more' (whole frames that did not fit), 'torn' (the start of a frame) or 'bad'.
    """
    cdef size_t used = 0, step = 0, n = 0, total = data.shape[0], rows = max_rows
    cdef int state = SONA_FRAME_OK
    cdef const uint8_t *start = &data[0] if total else NULL
    cdef const sona_record **records
    if max_rows < 1:
        raise InvalidValue(f"max_rows is {max_rows}, expected 1 or more")
    records = <const sona_record **> PyMem_Malloc(rows * sizeof(void *))
    if records is NULL:
        raise MemoryError()
    try:
        with nogil:
            while n < rows and used < total:
                state = sona_frame_read(kernels[0], start + used, total - used, dim, &records[n], &step)
                if state != SONA_FRAME_OK:
                    break
                used += step
                n += 1
        encoded = encode(records, n, dim, batch, space_id, learn) if n else None
    finally:
        PyMem_Free(records)
    if used == total:
        return encoded, used, n, "end"
    return encoded, used, n, "more" if state == SONA_FRAME_OK else "torn" if state == SONA_FRAME_MORE else "bad"
