# Dot products against many rows, and the best of them.

cdef extern from "algorithms.h" nogil:
    ctypedef struct sona_block:
        const sona_f32 *rows
        uint8_t *codes
        sona_f32 *scales
        Py_ssize_t m, d, padded
        double error, norm
    void sona_block_fill(sona_block *block) noexcept
    int sona_topk(const sona_kernels *K, const sona_f32 *q, const sona_f32 *C, Py_ssize_t m, Py_ssize_t d,
                  Py_ssize_t k, int64_t *indices, sona_f32 *scores) noexcept
    int sona_block_topk(const sona_kernels *K, const sona_block *block, const sona_f32 *q, Py_ssize_t k,
                        void *scratch, int64_t *indices, sona_f32 *scores) noexcept


cdef Py_ssize_t at_most(Py_ssize_t k, Py_ssize_t m) except -1:
    if k < 0:
        raise InvalidValue(f"k is {k}, expected 0 or more")
    return min(k, m)


def dot_rows(
    q,              # IN (d,) float32
    C,              # IN (m, d)
    out=None,       # OUT (m,)
):
    """out[i] = q . C[i]"""
    cdef const sona_f32 *pq = floats(q, 1, "q")
    cdef const sona_f32 *pc = floats(C, 2, "C")
    cdef Py_ssize_t m = axis(C, 0), d = axis(C, 1)
    cdef sona_f32 *po
    same(d, axis(q, 0), "q")
    if out is None:
        out = empty(1, m, 0, cnp.NPY_FLOAT32)
    po = floats_out(out, 1, "out")
    same(m, axis(out, 0), "out")
    if m * d <= SMALL:
        sona_active.dot_rows(pq, pc, m, d, po)
    else:
        with nogil:
            sona_active.dot_rows(pq, pc, m, d, po)
    return out


def topk(
    q,              # IN (d,) float32
    C,              # IN (m, d), unit rows if the scores are to be cosines
    Py_ssize_t k,
):
    """The min(k, m) largest q . C[i]: (indices int64, scores float32), descending, ties by lower index."""
    cdef const sona_f32 *pq = floats(q, 1, "q")
    cdef const sona_f32 *pc = floats(C, 2, "C")
    cdef Py_ssize_t m = axis(C, 0), d = axis(C, 1)
    cdef int status
    cdef int64_t *pi
    cdef sona_f32 *ps
    same(d, axis(q, 0), "q")
    k = at_most(k, m)
    indices = empty(1, k, 0, cnp.NPY_INT64)
    scores = empty(1, k, 0, cnp.NPY_FLOAT32)
    pi = <int64_t *> cnp.PyArray_DATA(indices)
    ps = <sona_f32 *> cnp.PyArray_DATA(scores)
    if m * d <= SMALL:
        status = sona_topk(sona_active, pq, pc, m, d, k, pi, ps)
    else:
        with nogil:
            status = sona_topk(sona_active, pq, pc, m, d, k, pi, ps)
    if status != 0:
        raise InvalidValue("q . C has a score that is NaN or infinite, expected finite q and C")
    return indices, scores


@cython.final
cdef class CentroidBlock:
    """A copy of C (m, d) prepared for many searches: exact float32 answers from a scan of one byte an element.

    Immutable, so any number of threads may search it at once. It takes 5 bytes an element.
    """
    cdef sona_block block
    cdef object rows_array, memory

    def __init__(
        self,
        C,          # IN (m, d) float32, finite
    ):
        cdef const sona_f32 *pc = floats(C, 2, "C")
        cdef Py_ssize_t m = axis(C, 0), d = axis(C, 1)
        if self.memory is not None:
            raise InvalidValue("a CentroidBlock is immutable: make a new one")
        all_finite_or_raise(pc, m * d, "C")
        rows = C.copy()
        rows.flags.writeable = False
        self.rows_array = rows
        self.block.rows = floats(rows, 2, "C")
        self.block.m = m
        self.block.d = d
        self.block.padded = (d + 63) // 64 * 64
        self.memory = PyBytes_FromStringAndSize(NULL, m * self.block.padded + 4 * m)
        self.block.codes = <uint8_t *> PyBytes_AS_STRING(self.memory)
        self.block.scales = <sona_f32 *> (self.block.codes + m * self.block.padded)
        with nogil:
            sona_block_fill(&self.block)

    def __len__(self):
        return self.block.m

    @property
    def rows(self):
        """The float32 rows, read-only."""
        return self.rows_array

    def topk(
        self,
        q,          # IN (d,) float32
        Py_ssize_t k,
    ):
        """Exactly what `topk(q, rows, k)` returns."""
        cdef const sona_f32 *pq = floats(q, 1, "q")
        cdef void *scratch
        cdef int status
        cdef int64_t *pi
        cdef sona_f32 *ps
        if self.memory is None:
            raise InvalidValue("this CentroidBlock was never initialised")
        if self.block.m * self.block.d <= SMALL:  # in cache anyway: the second look costs more than it saves
            return topk(q, self.rows_array, k)
        same(self.block.d, axis(q, 0), "q")
        all_finite_or_raise(pq, self.block.d, "q")
        k = at_most(k, self.block.m)
        indices = empty(1, k, 0, cnp.NPY_INT64)
        scores = empty(1, k, 0, cnp.NPY_FLOAT32)
        pi = <int64_t *> cnp.PyArray_DATA(indices)
        ps = <sona_f32 *> cnp.PyArray_DATA(scores)
        scratch = PyMem_Malloc(5 * self.block.m + 4 + self.block.padded)
        if scratch == NULL:
            raise MemoryError
        with nogil:
            status = sona_block_topk(sona_active, &self.block, pq, k, scratch, pi, ps)
        PyMem_Free(scratch)
        if status != 0:
            raise InvalidValue("q . C has a score that overflows float32: scale q and C down")
        return indices, scores
