# k-means: thin entries, the algorithms are in kmeans.c and kmeans_steps.c.

cdef extern from "algorithms.h" nogil:
    ctypedef struct sona_kmeans:
        const sona_f32 *X
        const sona_f32 *weights
        Py_ssize_t n, d, k
        bint spherical
        int threads
    int sona_kmeans_assign(const sona_kernels *K, const sona_kmeans *p, const sona_f32 *C, sona_i32 *labels,
                           sona_f32 *distances) noexcept
    void sona_kmeans_update(const sona_kernels *K, const sona_kmeans *p, const sona_i32 *labels, sona_f64 *sums,
                            sona_f64 *counts) noexcept
    int sona_kmeans_lloyd(const sona_kernels *K, const sona_kmeans *p, int max_iter, double tol,
                          double least_gain, sona_f32 *C, sona_i32 *labels, double *inertia, int *n_iter) noexcept
    int sona_kmeans_fit(const sona_kernels *K, const sona_kmeans *p, uint64_t seed, int max_iter, double tol,
                        sona_f32 *C, sona_i32 *labels, double *inertia, int *n_iter) noexcept
    int sona_kmeans_plus_plus(const sona_kernels *K, const sona_kmeans *p, const sona_f64 *uniforms,
                              Py_ssize_t trials, int64_t *chosen) noexcept


cdef int open_problem(sona_kmeans *p, object X, object weights, Py_ssize_t k, bint spherical, int threads) except -1:
    p.X = floats(X, 2, "X")
    p.n = axis(X, 0)
    p.d = axis(X, 1)
    p.k = k
    p.spherical = spherical
    p.threads = threads
    p.weights = NULL
    if not 1 <= k <= 0x7fffffff:
        raise InvalidValue(f"k is {k}, expected at least one centroid")
    if threads < 1:
        raise InvalidValue(f"threads is {threads}, expected 1 or more")
    if weights is not None:
        p.weights = floats(weights, 1, "weights")
        same(p.n, axis(weights, 0), "weights")
        if p.n and not (all_finite(weights) and weights.min() >= 0):
            raise InvalidValue("weights has an element that is negative or not finite, expected 0 or more")
    return 0


def kmeans_assign(
    X,              # IN (n, d) float32, finite
    C,              # IN (k, d)
    labels=None,    # OUT (n,) int32
    distances=None, # OUT (n,) float32
    bint spherical=True,
    int threads=1,
):
    """The nearest centroid of each row (ties by lower index) and the squared distance to it: (labels, distances).

    `spherical` takes the largest dot product; for unit rows the distance is then 2 - 2 cos.
    """
    cdef sona_kmeans p
    cdef const sona_f32 *pc = floats(C, 2, "C")
    cdef sona_i32 *pl
    cdef sona_f32 *pd
    cdef int status
    open_problem(&p, X, None, axis(C, 0), spherical, threads)
    same(p.d, axis(C, 1), "C")
    all_finite_or_raise(p.X, p.n * p.d, "X")
    all_finite_or_raise(pc, p.k * p.d, "C")
    if labels is None:
        labels = empty(1, p.n, 0, cnp.NPY_INT32)
    if distances is None:
        distances = empty(1, p.n, 0, cnp.NPY_FLOAT32)
    pl = <sona_i32 *> out_of(labels, cnp.NPY_INT32, 1, "labels")
    pd = floats_out(distances, 1, "distances")
    same(p.n, axis(labels, 0), "labels")
    same(p.n, axis(distances, 0), "distances")
    with nogil:
        status = sona_kmeans_assign(sona_active, &p, pc, pl, pd)
    if status != 0:
        raise MemoryError
    return labels, distances


def kmeans_update(
    X,              # IN (n, d) float32
    labels,         # IN (n,) int32 in [0, k)
    Py_ssize_t k,
    weights=None,   # IN (n,) float32
    int threads=1,
):
    """The weighted sum and the total weight of each cluster: (sums (k, d), counts (k,)), both float64."""
    cdef sona_kmeans p
    cdef const sona_i32 *pl = <const sona_i32 *> data_of(labels, cnp.NPY_INT32, 1, "labels")
    cdef sona_f64 *ps
    cdef sona_f64 *pn
    open_problem(&p, X, weights, k, False, threads)
    same(p.n, axis(labels, 0), "labels")
    if p.n and not (labels.min() >= 0 and labels.max() < k):
        raise InvalidValue(f"labels run from {labels.min()} to {labels.max()}, expected 0 to {k - 1}")
    sums = empty(2, k, p.d, cnp.NPY_FLOAT64)
    counts = empty(1, k, 0, cnp.NPY_FLOAT64)
    ps = <sona_f64 *> cnp.PyArray_DATA(sums)
    pn = <sona_f64 *> cnp.PyArray_DATA(counts)
    with nogil:
        sona_kmeans_update(sona_active, &p, pl, ps, pn)
    return sums, counts


def kmeans_lloyd(
    X,              # IN (n, d) float32, finite; unit rows if spherical
    C0,             # IN (k, d)
    weights=None,   # IN (n,) float32
    int max_iter=100,
    double tol=1e-3,
    bint spherical=True,
    int threads=1,
):
    """Lloyd's algorithm from C0: (C (k, d) float32, labels (n,) int32, inertia, n_iter).

    It stops when no centroid moves farther than `tol`, or after `max_iter` moves. Labels and inertia (the weighted
    sum of squared distances) belong to the returned C. An empty cluster restarts at the row farthest from its own
    centroid. `spherical` scales every mean back to length 1. The result does not depend on `threads`.
    """
    cdef sona_kmeans p
    cdef const sona_f32 *p0 = floats(C0, 2, "C0")
    cdef sona_f32 *pc
    cdef sona_i32 *pl
    cdef double inertia = 0
    cdef int n_iter = 0, status
    open_problem(&p, X, weights, axis(C0, 0), spherical, threads)
    same(p.d, axis(C0, 1), "C0")
    all_finite_or_raise(p.X, p.n * p.d, "X")
    all_finite_or_raise(p0, p.k * p.d, "C0")
    C = C0.copy()
    labels = empty(1, p.n, 0, cnp.NPY_INT32)
    pc = floats_out(C, 2, "C0")
    pl = <sona_i32 *> cnp.PyArray_DATA(labels)
    with nogil:
        status = sona_kmeans_lloyd(sona_active, &p, max_iter, tol, 0.0, pc, pl, &inertia, &n_iter)
    if status != 0:
        raise MemoryError
    return C, labels, inertia, n_iter


def kmeans_fit(
    X,              # IN (n, d) float32, finite; unit rows if spherical
    Py_ssize_t k,
    uint64_t seed,
    weights=None,   # IN (n,) float32
    int max_iter=100,
    double tol=1e-3,
    bint spherical=True,
    int threads=1,
):
    """k-means from scratch: (C (k, d) float32, labels (n,) int32, inertia, n_iter), a pure function of the seed.

    Greedy k-means++ on 32 k rows drawn without replacement, Lloyd on 64 k, 512 k, ... rows, at last on all. It
    stops when an iteration lowers the inertia by less than `tol` of it, or after `max_iter` of them at each stage.
    """
    cdef sona_kmeans p
    cdef sona_f32 *pc
    cdef sona_i32 *pl
    cdef double inertia = 0
    cdef int n_iter = 0, status
    open_problem(&p, X, weights, k, spherical, threads)
    all_finite_or_raise(p.X, p.n * p.d, "X")
    if p.n < k:
        raise InvalidValue(f"X has {p.n} rows, expected at least k = {k}")
    C = empty(2, k, p.d, cnp.NPY_FLOAT32)
    labels = empty(1, p.n, 0, cnp.NPY_INT32)
    pc = <sona_f32 *> cnp.PyArray_DATA(C)
    pl = <sona_i32 *> cnp.PyArray_DATA(labels)
    with nogil:
        status = sona_kmeans_fit(sona_active, &p, seed, max_iter, tol, pc, pl, &inertia, &n_iter)
    if status != 0:
        raise MemoryError
    return C, labels, inertia, n_iter


def kmeans_plus_plus(
    X,              # IN (n, d) float32, finite
    weights,        # IN (n,) float32, or None
    Py_ssize_t k,
    random_uniforms,  # IN (k,) or (k, trials) float64 in [0, 1)
):
    """Rows chosen as first centroids by D2 sampling: (k,) int64, a pure function of the uniforms given.

    With several trials a round, the draw that lowers the total distance most is kept (greedy k-means++).
    """
    cdef sona_kmeans p
    cdef const sona_f64 *pu = <const sona_f64 *> data_of(random_uniforms, cnp.NPY_FLOAT64, -1, "random_uniforms")
    cdef Py_ssize_t trials = 1
    cdef int64_t *pi
    cdef int status
    open_problem(&p, X, weights, k, False, 1)
    all_finite_or_raise(p.X, p.n * p.d, "X")
    if p.n < k:
        raise InvalidValue(f"X has {p.n} rows, expected at least k = {k}")
    if random_uniforms.ndim == 2 and axis(random_uniforms, 1) > 0:
        trials = axis(random_uniforms, 1)
    elif random_uniforms.ndim != 1:
        raise InvalidValue(f"random_uniforms has shape {random_uniforms.shape}, expected ({k},) or ({k}, trials)")
    same(k, axis(random_uniforms, 0), "random_uniforms")
    if not (random_uniforms.min() >= 0 and random_uniforms.max() < 1):
        raise InvalidValue("random_uniforms has an element outside of [0, 1)")
    chosen = empty(1, k, 0, cnp.NPY_INT64)
    pi = <int64_t *> cnp.PyArray_DATA(chosen)
    with nogil:
        status = sona_kmeans_plus_plus(sona_active, &p, pu, trials, pi)
    if status != 0:
        raise MemoryError
    return chosen
