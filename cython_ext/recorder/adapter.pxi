# Adapters: immutable, so that a reload is the swap of one reference.


@cython.final
@cython.no_gc
cdef class Adapter:
    """Low-rank factors A and B, (rank, dim) float32, with a scale; copied when made, never changed."""

    cdef readonly Py_ssize_t rank
    cdef readonly Py_ssize_t dim
    cdef readonly float scale
    cdef readonly object A
    cdef readonly object B
    cdef const sona_f32 *a
    cdef const sona_f32 *b

    def __init__(self, A, B, scale=1.0):
        if self.A is not None:
            raise ConfigError("an Adapter is initialised once")
        first, second = factor(A, "A"), factor(B, "B")
        if first.shape != second.shape:
            raise InvalidValue(f"A has shape {first.shape} and B {second.shape}, expected the same (rank, dim)")
        if len(first) > SONA_MAX_RANK:  # the kernels keep a vector of this length on the stack
            raise InvalidValue(f"an adapter has rank {len(first)}, expected 1 to {SONA_MAX_RANK}")
        self.scale = number(scale, "scale")
        if not isfinite(self.scale):
            raise InvalidValue(f"scale is {scale!r}, expected a finite number")
        self.rank, self.dim = first.shape
        self.a = <const sona_f32 *> cnp.PyArray_DATA(<cnp.ndarray> first)
        self.b = <const sona_f32 *> cnp.PyArray_DATA(<cnp.ndarray> second)
        self.A, self.B = first, second

    def __repr__(self):
        return f"Adapter(rank={self.rank}, dim={self.dim}, scale={self.scale:g})"


cdef object factor(object values, str what):
    matrix = np.array(values, dtype=np.float32, order="C", copy=True)
    if matrix.ndim != 2 or matrix.shape[0] < 1 or matrix.shape[1] < 1:
        raise InvalidValue(f"{what} has shape {matrix.shape}, expected (rank, dim)")
    if not np.isfinite(matrix).all():
        raise InvalidValue(f"{what} has values that are not finite")
    matrix.setflags(write=False)
    return matrix


cdef inline bint is_plain(object x) noexcept:
    """Exactly an ndarray of float32, contiguous, in native byte order."""
    return (
        cnp.PyArray_CheckExact(x)
        and cnp.PyArray_TYPE(<cnp.ndarray> x) == cnp.NPY_FLOAT32
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)
        and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> x)
    )


cdef object apply(Adapter adapter, Py_ssize_t dim, object x, object out):
    cdef cnp.ndarray source
    cdef cnp.ndarray result
    cdef Py_ssize_t n, d, axes
    cdef const char *start
    cdef char *to
    source = <cnp.ndarray> x if is_plain(x) else converted(x, 2, "x")
    axes = cnp.PyArray_NDIM(source)
    if axes == 1:
        n, d = 1, cnp.PyArray_DIM(source, 0)
    elif axes == 2:
        n, d = cnp.PyArray_DIM(source, 0), cnp.PyArray_DIM(source, 1)
    else:
        raise InvalidValue(f"x has {axes} axes, expected (dim,) or (n, dim)")
    if d != dim:
        raise DimensionMismatch(dim, d, "x")
    if out is None:
        result = <cnp.ndarray> cnp.PyArray_EMPTY(<int> axes, cnp.PyArray_DIMS(source), cnp.NPY_FLOAT32, 0)
    else:
        if not (
            is_plain(out)
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray> out)
            and cnp.PyArray_NDIM(<cnp.ndarray> out) == axes
            and cnp.PyArray_DIM(<cnp.ndarray> out, 0) == cnp.PyArray_DIM(source, 0)
            and (axes == 1 or cnp.PyArray_DIM(<cnp.ndarray> out, 1) == d)
        ):
            raise InvalidValue(
                f"out must be a writable, contiguous float32 array of shape {np.shape(source)}, as x is"
            )
        result = <cnp.ndarray> out
    start = <const char *> cnp.PyArray_DATA(source)
    to = <char *> cnp.PyArray_DATA(result)
    if start != to and start < to + 4 * n * d and to < start + 4 * n * d:
        source = source.copy()  # out overlaps x by a shift: rows would be overwritten before they are read
        start = <const char *> cnp.PyArray_DATA(source)
    if adapter is None:
        if start != to:
            memcpy(to, start, 4 * n * d)
    elif n * d * adapter.rank < RELEASE_GIL:
        kernels[0].lora_forward(
            <const sona_f32 *> start, adapter.a, adapter.b, adapter.scale, adapter.rank, n, d, <sona_f32 *> to
        )
    else:
        with nogil:
            kernels[0].lora_forward(
                <const sona_f32 *> start, adapter.a, adapter.b, adapter.scale, adapter.rank, n, d, <sona_f32 *> to
            )
    if not finite(<const sona_f32 *> to, n, d, adapter is None):
        if start == to:
            raise InvalidValue("x has a number that is not finite, or too large: expected finite numbers")
        raise not_finite(source)
    return result


cdef inline bint finite(const sona_f32 *rows, Py_ssize_t n, Py_ssize_t d, bint copied) noexcept nogil:
    """Whether a result is finite. Every number of x is in every number of its adapted row: the first tells of all."""
    cdef Py_ssize_t place = 0
    cdef Py_ssize_t step = 1 if copied else d
    cdef int beyond = 0
    while place < n * d:
        beyond |= not fabsf(rows[place]) <= FLT_MAX
        place += step
    return beyond == 0


cdef object not_finite(cnp.ndarray values):
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return InvalidValue("x has numbers too large for float32 once the adapter is applied")
    index = np.argwhere(wrong)[0].tolist()
    return InvalidValue(f"x{index} is {float(values[tuple(index)])!r}, expected a finite number")
