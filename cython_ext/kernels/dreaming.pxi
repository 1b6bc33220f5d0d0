# Dreams: random walks over the memory graph.

cdef extern from "dreaming.h" nogil:
    ctypedef struct sona_walked:
        Py_ssize_t nodes
        const int64_t *starts
        const int32_t *targets
        const sona_f32 *weights
        const sona_f64 *reinforced
        const uint8_t *kinds
        const int64_t *accesses
        const sona_f64 *begin
        const sona_f64 *jump
        double now, half_life
        int lasting
        double creative_jump, restart, temperature
    int sona_walks(const sona_walked *g, uint64_t seed, int64_t first, Py_ssize_t count, Py_ssize_t path, int64_t home,
                   int32_t *rows, uint8_t *jumped, double *work) noexcept


def dream_walks(
    starts,         # IN (n + 1,) int64: edges of node i are starts[i]:starts[i + 1]
    targets,        # IN (m,) int32 in [0, n)
    weights,        # IN (m,) float32 in [0, 1], as last reinforced
    reinforced,     # IN (m,) float64, days
    kinds,          # IN (m,) uint8
    accesses,       # IN (n,) int64, none negative
    begin,          # IN (n,) float64: running sums of positive numbers, where a walk begins
    jump,           # IN (n,) float64: the same of where a creative jump ends
    tuple chances,  # creative jump, restart, temperature
    tuple moment,   # now, half-life: days; the kind of edges that do not fade
    uint64_t seed,
    int64_t first,
    Py_ssize_t count,
    Py_ssize_t path,
    int64_t home=-1,
):
    """The walks `first` to `first + count - 1` of a seed: (rows (count, path) int32, jumped (count, path) uint8).

    Walk i depends on the seed and i alone, and is the same on every machine. Each begins at `home`, or where its first
    draw says. A walk reads the edges of the nodes on its path only.
    """
    cdef sona_walked g
    cdef Py_ssize_t n = axis(accesses, 0), m, widest = 0, i
    cdef double *work
    cdef int status
    g.nodes = n
    g.starts = <const int64_t *> data_of(starts, cnp.NPY_INT64, 1, "starts")
    g.targets = <const int32_t *> data_of(targets, cnp.NPY_INT32, 1, "targets")
    g.weights = floats(weights, 1, "weights")
    g.reinforced = <const sona_f64 *> data_of(reinforced, cnp.NPY_FLOAT64, 1, "reinforced")
    g.kinds = <const uint8_t *> data_of(kinds, cnp.NPY_UINT8, 1, "kinds")
    g.accesses = <const int64_t *> data_of(accesses, cnp.NPY_INT64, 1, "accesses")
    g.begin = <const sona_f64 *> data_of(begin, cnp.NPY_FLOAT64, 1, "begin")
    g.jump = <const sona_f64 *> data_of(jump, cnp.NPY_FLOAT64, 1, "jump")
    g.creative_jump, g.restart, g.temperature = chances
    g.now, g.half_life, g.lasting = moment
    m = axis(targets, 0)
    same(n + 1, axis(starts, 0), "starts")
    same(m, axis(weights, 0), "weights")
    same(m, axis(reinforced, 0), "reinforced")
    same(m, axis(kinds, 0), "kinds")
    same(n, axis(begin, 0), "begin")
    same(n, axis(jump, 0), "jump")
    if n == 0 or path < 1 or count < 0:
        raise InvalidValue(f"{count} walks of {path} nodes over {n}: expected a node or more, on a path of one or more")
    if not -1 <= home < n:
        raise InvalidValue(f"home is {home}, expected -1 to {n - 1}")
    if not (g.half_life > 0 and g.temperature > 0):
        raise InvalidValue(f"half-life {g.half_life} and temperature {g.temperature}: expected positive numbers")
    if not (g.begin[n - 1] > 0 and g.jump[n - 1] > 0 and isfinite(g.begin[n - 1]) and isfinite(g.jump[n - 1])):
        raise InvalidValue("begin and jump do not end above 0: expected running sums of positive numbers")
    with nogil:
        for i in range(n):
            widest = max(widest, <Py_ssize_t> (g.starts[i + 1] - g.starts[i]))
            if g.starts[i + 1] < g.starts[i]:
                widest = -1
                break
    if widest < 0 or g.starts[0] != 0 or g.starts[n] != m:
        raise InvalidValue(f"starts do not rise from 0 to the number of edges {m}")
    rows = empty(2, count, path, cnp.NPY_INT32)
    jumped = empty(2, count, path, cnp.NPY_UINT8)
    cdef int32_t *pr = <int32_t *> cnp.PyArray_DATA(<cnp.ndarray> rows)
    cdef uint8_t *pj = <uint8_t *> cnp.PyArray_DATA(<cnp.ndarray> jumped)
    work = <double *> PyMem_Malloc((widest + 1) * sizeof(double))
    if work == NULL:
        raise MemoryError
    try:
        with nogil:
            status = sona_walks(&g, seed, first, count, path, home, pr, pj, work)
    finally:
        PyMem_Free(work)
    if status != 0:
        raise InvalidValue(f"targets has an element outside of the graph, expected 0 to {n - 1}")
    return rows, jumped
