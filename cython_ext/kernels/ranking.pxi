# Ranking: candidates whose score is affine in the query.


@cython.final
cdef class CandidateBlock:
    """Candidates as one version scores them: score = weights . x / |x| + offset. Immutable."""
    cdef object weights_array, offset_array
    cdef const sona_f32 *rows
    cdef const sona_f32 *offset
    cdef Py_ssize_t m, d

    def __init__(
        self,
        weights,    # IN (m, d) float32
        offset,     # IN (m,)
    ):
        floats(weights, 2, "weights")
        if axis(weights, 1) % 16 == 0 and cnp.PyArray_SIZE(weights) <= MOST_COPIED:
            weights = aligned(weights)
        self.rows = floats(weights, 2, "weights")
        self.offset = floats(offset, 1, "offset")
        self.m = axis(weights, 0)
        self.d = axis(weights, 1)
        same(self.m, axis(offset, 0), "offset")
        self.weights_array = weights
        self.offset_array = offset

    def __len__(self):
        return self.m

    @property
    def weights(self):
        """The weights (m, d), read-only."""
        return self.weights_array

    def best(
        self,
        x,          # IN (d,) float32, of any length but 0
        Py_ssize_t k,
        tuple ids,  # (m,) objects
        float sharpness=1.0,
    ):
        """The k highest scores: (their objects, the scores (k,) float32, sum), best first, ties by lower place.

        The sum is that of e^(sharpness (score - highest)) over all m scores: its inverse is the softmax of the best. Returns
        None if x must be converted or refused, as `CentroidBlock.nearest` does.
        """
        cdef float inverse_norm
        cdef const sona_f32 *px = direct(x, self.d, &inverse_norm)
        cdef int status
        cdef Best best
        cdef sona_softmax among
        among.sharpness, among.best, among.sum = sharpness, -INFINITY, 0.0
        if px == NULL or self.rows == NULL:
            return None
        same(self.m, len(ids), "ids")
        k = at_most(k, self.m)
        room_for(&best, k)
        try:
            if self.m * self.d <= SMALL:
                status = sona_topk_affine(sona_active, px, inverse_norm, self.rows, self.offset, NULL, self.m,
                                          self.d, k, best.indices, best.scores, &among)
            else:
                with nogil:
                    status = sona_topk_affine(sona_active, px, inverse_norm, self.rows, self.offset, NULL, self.m,
                                              self.d, k, best.indices, best.scores, &among)
            if status != 0:
                return None
            scores = empty(1, k, 0, cnp.NPY_FLOAT32)
            memcpy(cnp.PyArray_DATA(<cnp.ndarray> scores), best.scores, k * sizeof(sona_f32))
            return picked(ids, NULL, &best, k), scores, among.sum
        finally:
            leave(&best)
