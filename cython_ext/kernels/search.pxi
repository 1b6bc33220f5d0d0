# Dot products against many rows, and the best of them.

cdef extern from "algorithms.h" nogil:
    ctypedef struct sona_block:
        const sona_f32 *rows
        uint8_t *codes
        sona_f32 *scales
        Py_ssize_t m, d, padded
        double error, norm
    ctypedef struct sona_softmax:
        float sharpness, best
        double sum
    void sona_block_fill(sona_block *block) noexcept
    int sona_topk(const sona_kernels *K, const sona_f32 *q, const sona_f32 *C, Py_ssize_t m, Py_ssize_t d,
                  Py_ssize_t k, int64_t *indices, sona_f32 *scores) noexcept
    int sona_topk_affine(const sona_kernels *K, const sona_f32 *q, float scale, const sona_f32 *C,
                         const sona_f32 *offset, const int64_t *which, Py_ssize_t m, Py_ssize_t d, Py_ssize_t k,
                         int64_t *indices, sona_f32 *scores, sona_softmax *among) noexcept
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


cdef inline const sona_f32 *direct(object x, Py_ssize_t d, float *inverse_norm) noexcept:
    """The address of x (d,), and 1 / |x|; NULL if x must be converted, measured in double, or refused.

    A sum of squares that is neither tiny nor huge proves every element finite.
    """
    cdef const sona_f32 *px
    cdef float squares
    if (not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(<cnp.ndarray> x) != cnp.NPY_FLOAT32
            or cnp.PyArray_NDIM(<cnp.ndarray> x) != 1 or cnp.PyArray_DIM(<cnp.ndarray> x, 0) != d
            or not cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x) or not cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> x)):
        return NULL
    px = <const sona_f32 *> cnp.PyArray_DATA(<cnp.ndarray> x)
    squares = sona_active.dot(px, px, d)
    if not 1e-30 < squares < 1e30:
        return NULL
    inverse_norm[0] = 1.0 / sqrtf(squares)
    return px


def is_direction(
    x,              # IN anything
    Py_ssize_t d,
):
    """True if x is a contiguous (d,) float32 array whose length is finite and not 0, so that no check remains."""
    cdef float inverse_norm
    return direct(x, d, &inverse_norm) != NULL


cdef struct Best:
    int64_t *indices
    sona_f32 *scores
    int64_t[64] few_indices
    sona_f32[64] few_scores


cdef int room_for(Best *best, Py_ssize_t k) except -1:
    """Room for k results, on the stack while they are few; given back by `leave`."""
    best.indices = best.few_indices
    best.scores = best.few_scores
    if k > 64:
        best.indices = <int64_t *> PyMem_Malloc(k * (sizeof(int64_t) + sizeof(sona_f32)))
        if best.indices == NULL:
            raise MemoryError
        best.scores = <sona_f32 *> (best.indices + k)
    return 0


cdef inline void leave(Best *best) noexcept:
    if best.indices != best.few_indices:
        PyMem_Free(best.indices)


cdef tuple picked(tuple of, const int64_t *which, Best *best, Py_ssize_t k):
    """The objects at the best k places; `which` translates places."""
    cdef tuple found = PyTuple_New(k)
    cdef Py_ssize_t i
    cdef object one
    for i in range(k):
        one = of[best.indices[i] if which == NULL else which[best.indices[i]]]
        Py_INCREF(one)
        PyTuple_SET_ITEM(found, i, one)
    return found


@cython.final
cdef class CentroidBlock:
    """A copy of C (m, d) prepared for many searches: exact float32 answers from a scan of one byte an element.

    Immutable, so any number of threads may search it at once. It takes 5 bytes an element. It counts how often
    `nearest` has given each row.
    """
    cdef sona_block block
    cdef object rows_array, memory, given_array
    cdef int64_t *given  # (m,) INOUT: under the interpreter's lock
    cdef readonly int64_t given_total

    def __init__(
        self,
        C,          # IN (m, d) float32, finite
    ):
        cdef const sona_f32 *pc = floats(C, 2, "C")
        cdef Py_ssize_t m = axis(C, 0), d = axis(C, 1)
        if self.memory is not None:
            raise InvalidValue("a CentroidBlock is immutable: make a new one")
        all_finite_or_raise(pc, m * d, "C")
        rows = aligned(C) if d % 16 == 0 else C.copy()
        rows.flags.writeable = False
        self.rows_array = rows
        self.block.rows = floats(rows, 2, "C")
        self.block.m = m
        self.block.d = d
        self.block.padded = (d + 63) // 64 * 64
        self.memory = PyBytes_FromStringAndSize(NULL, m * self.block.padded + 4 * m + LINE)
        self.block.codes = <uint8_t *> ((<size_t> PyBytes_AS_STRING(self.memory) + LINE - 1) // LINE * LINE)
        self.block.scales = <sona_f32 *> (self.block.codes + m * self.block.padded)
        self.given_array = empty(1, m, 0, cnp.NPY_INT64)
        self.given_array.fill(0)
        self.given = <int64_t *> cnp.PyArray_DATA(self.given_array)
        with nogil:
            sona_block_fill(&self.block)

    @property
    def given_counts(self):
        """How often `nearest` has given each row, (m,) int64: a copy."""
        return self.given_array.copy()

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
        """The same result as `topk(q, rows, k)`."""
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

    def nearest(
        self,
        x,          # IN (d,) float32, of any length but 0
        Py_ssize_t k,
        tuple of,   # (m,) objects
        rows=None,  # IN (n,) int64: rows to search, ascending; default: all
    ):
        """The k rows of largest cosine with x: (their objects, their cosines), best first, ties by lower row.

        Returns None if x is no contiguous float32 array of this length, or not of a usual length: convert and check it.
        """
        cdef float inverse_norm
        cdef const sona_f32 *px = direct(x, self.block.d, &inverse_norm)
        cdef const int64_t *which = NULL
        cdef Py_ssize_t m = self.block.m, i
        cdef void *scratch = NULL
        cdef int status
        cdef Best best
        if px == NULL or self.memory is None:
            return None
        same(m, len(of), "of")
        if rows is not None:
            which = <const int64_t *> data_of(rows, cnp.NPY_INT64, 1, "rows")
            m = axis(rows, 0)
            if m and not 0 <= which[0] <= which[m - 1] < self.block.m:
                raise InvalidValue(f"rows are not within 0 to {self.block.m - 1}, in ascending order")
        k = at_most(k, m)
        room_for(&best, k)
        try:
            if which != NULL or m * self.block.d <= SMALL:
                status = sona_topk_affine(sona_active, px, 1.0, self.block.rows, NULL, which, m, self.block.d, k,
                                          best.indices, best.scores, NULL)
            else:
                scratch = PyMem_Malloc(5 * m + 4 + self.block.padded)
                if scratch == NULL:
                    raise MemoryError
                with nogil:
                    status = sona_block_topk(sona_active, &self.block, px, k, scratch, best.indices, best.scores)
                PyMem_Free(scratch)
            if status != 0:
                return None
            for i in range(k):
                self.given[best.indices[i] if which == NULL else which[best.indices[i]]] += 1
            self.given_total += k
            return picked(of, which, &best, k), tuple([<double> (best.scores[i] * inverse_norm) for i in range(k)])
        finally:
            leave(&best)
