# cython: language_level=3, freethreading_compatible=True, boundscheck=False, wraparound=False, embedsignature=True
# cython: auto_pickle=False
"""Shape checks, allocation of results and release of the GIL around the C kernels; no arithmetic of its own.

Every array argument is marked IN, OUT or INOUT. Arrays are C-contiguous NumPy arrays in native byte order; they may
be unaligned. Outputs are allocated by the caller, or here when `out` is None. An OUT must not overlap an IN unless
the function says "in place". Work of a few microseconds keeps the GIL: releasing it would cost more.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport INFINITY, NAN, isfinite, log, sqrtf
from libc.string cimport memcpy
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
cimport numpy as cnp

import numpy as np

from kernels cimport SONA_MAX_RANK, sona_f32, sona_f64, sona_i32, sona_kernels

from sona_pg.errors import ConfigError, DimensionMismatch, InvalidValue

cnp.import_array()

cdef extern from "sona_kernels.h":
    const sona_kernels *sona_active
    int sona_select(const char *name, char *message, size_t size)
    const sona_kernels *sona_usable(int i)
    const char *sona_forced_isa()

cdef enum:
    SMALL = 65536  # multiplications up to which the GIL is kept
    LINE = 64      # bytes of a cache line
    MOST_COPIED = 1 << 22  # largest array copied to a cache-line boundary; a larger one is read from memory anyway


# ---- Which instruction set ----

def use_isa(str name=None):
    """Switch every kernel to one instruction set (None: the best). For tests: no other thread may be in a kernel."""
    cdef char[512] message
    cdef bytes wanted = (name or "").encode()
    if sona_select(wanted, message, sizeof(message)) != 0:
        raise ConfigError(message.decode())


def isa():
    """The instruction set in use: 'avx512', 'avx2', 'neon' or 'scalar'."""
    return sona_active.isa.decode()


def available_isas():
    """Instruction sets of this CPU and build, best first."""
    names = []
    while sona_usable(len(names)) != NULL:
        names.append(sona_usable(len(names)).isa.decode())
    return tuple(names)


cdef choose_at_import():
    cdef char[512] message
    if sona_select(sona_forced_isa(), message, sizeof(message)) != 0:
        raise ConfigError(message.decode())


choose_at_import()
_active_table = PyCapsule_New(<void *> &sona_active, "sona_pg._kernels._active_table", NULL)


# ---- Checks ----

cdef void *data_of(object array, int typenum, int ndim, str what) except NULL:
    """The address of an IN array of this type; ndim -1 takes any shape."""
    if not cnp.PyArray_Check(array):
        raise InvalidValue(f"{what} is a {type(array).__name__}, expected a NumPy array")
    if (cnp.PyArray_TYPE(<cnp.ndarray> array) != typenum or not cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> array)
            or not cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> array)):
        wanted = cnp.PyArray_DescrFromType(typenum)
        layout = "contiguous" if cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> array) else "strided"
        raise InvalidValue(f"{what} is a {layout} array of {array.dtype}, expected C-contiguous {wanted}: "
                           f"pass np.ascontiguousarray({what}, dtype=np.{wanted})")
    if ndim >= 0 and cnp.PyArray_NDIM(<cnp.ndarray> array) != ndim:
        raise InvalidValue(f"{what} has shape {array.shape}, expected {ndim} axes")
    return cnp.PyArray_DATA(<cnp.ndarray> array)


cdef void *out_of(object array, int typenum, int ndim, str what) except NULL:
    """The address of an OUT or INOUT array."""
    cdef void *data = data_of(array, typenum, ndim, what)
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray> array):
        raise InvalidValue(f"{what} is read-only, expected an array to write to: pass a copy")
    return data


cdef inline sona_f32 *floats(object array, int ndim, str what) except NULL:
    return <sona_f32 *> data_of(array, cnp.NPY_FLOAT32, ndim, what)


cdef inline sona_f32 *floats_out(object array, int ndim, str what) except NULL:
    return <sona_f32 *> out_of(array, cnp.NPY_FLOAT32, ndim, what)


cdef inline Py_ssize_t axis(object array, int i) noexcept:
    return cnp.PyArray_DIM(<cnp.ndarray> array, i)


cdef inline object empty(int ndim, Py_ssize_t n, Py_ssize_t d, int typenum):
    cdef cnp.npy_intp[2] shape
    shape[0] = n
    shape[1] = d
    return cnp.PyArray_EMPTY(ndim, shape, typenum, 0)


cdef inline int same(Py_ssize_t expected, Py_ssize_t actual, str what) except -1:
    if expected != actual:
        raise DimensionMismatch(expected, actual, what)
    return 0


cdef int same_shape(object array, object like, str what) except -1:
    if array.shape != like.shape:
        raise InvalidValue(f"{what} has shape {array.shape}, expected {like.shape}")
    return 0


cdef object aligned(object rows):
    """A read-only copy of rows (m, d) float32 that begins at a cache line, each row filled up with zeros to whole lines.

    A load that straddles two lines takes twice as long.
    """
    cdef Py_ssize_t m = axis(rows, 0), d = axis(rows, 1), whole = (d + 15) // 16 * 16
    memory = np.zeros(m * whole * 4 + LINE, np.uint8)
    cdef Py_ssize_t start = -<Py_ssize_t> cnp.PyArray_DATA(<cnp.ndarray> memory) & (LINE - 1)
    copy = memory[start:start + m * whole * 4].view(np.float32).reshape(m, whole)
    copy[:, :d] = rows
    copy.flags.writeable = False
    return copy


cdef int all_finite_or_raise(const sona_f32 *x, Py_ssize_t n, str what) except -1:
    cdef bint finite
    with nogil:
        finite = sona_active.all_finite(x, n)
    if not finite:
        raise InvalidValue(f"{what} has an element that is NaN or infinite, expected finite values")
    return 0


# ---- LoRA ----

cdef Py_ssize_t rank_of(object A, object B, Py_ssize_t d) except -1:
    cdef Py_ssize_t rank = axis(A, 0)
    if not 1 <= rank <= SONA_MAX_RANK:
        raise InvalidValue(f"A has {rank} rows, expected a rank of 1 to {SONA_MAX_RANK}")
    if axis(B, 0) != rank:
        raise InvalidValue(f"B has {axis(B, 0)} rows and A has {rank}, expected the same rank")
    same(d, axis(A, 1), "A")
    same(d, axis(B, 1), "B")
    return rank


def lora_forward(
    x,              # IN (d,) or (n, d) float32
    A,              # IN (rank, d)
    B,              # IN (rank, d)
    double scale,
    out=None,       # OUT like x; may be x itself
):
    """x + scale * sum_r (A_r . x) B_r, for one row or a batch."""
    cdef const sona_f32 *px = floats(x, -1, "x")
    cdef const sona_f32 *pa = floats(A, 2, "A")
    cdef const sona_f32 *pb = floats(B, 2, "B")
    cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray> x)
    cdef Py_ssize_t n = 1, d, rank
    cdef sona_f32 *py
    if ndim == 2:
        n = axis(x, 0)
        d = axis(x, 1)
    elif ndim == 1:
        d = axis(x, 0)
    else:
        raise InvalidValue(f"x has shape {x.shape}, expected (d,) or (n, d)")
    rank = rank_of(A, B, d)
    if out is None:
        out = empty(ndim, n if ndim == 2 else d, d, cnp.NPY_FLOAT32)
    py = floats_out(out, ndim, "out")
    if axis(out, 0) != axis(x, 0) or axis(out, ndim - 1) != d:
        same_shape(out, x, "out")
    if n * d * rank <= SMALL:
        sona_active.lora_forward(px, pa, pb, <float> scale, rank, n, d, py)
    else:
        with nogil:
            sona_active.lora_forward(px, pa, pb, <float> scale, rank, n, d, py)
    return out


def lora_backward(
    x,              # IN (d,) or (n, d) float32
    delta,          # IN like x: the gradient at the output
    A,              # IN (rank, d)
    B,              # IN (rank, d)
    double scale,
    dA,             # INOUT (rank, d)
    dB,             # INOUT (rank, d)
    weights=None,   # IN (n,): one factor for each row
):
    """dA_r += scale * w (B_r . delta) x and dB_r += scale * w (A_r . x) delta, summed over the rows."""
    cdef const sona_f32 *px = floats(x, -1, "x")
    cdef const sona_f32 *pd = floats(delta, -1, "delta")
    cdef const sona_f32 *pa = floats(A, 2, "A")
    cdef const sona_f32 *pb = floats(B, 2, "B")
    cdef sona_f32 *pda = floats_out(dA, 2, "dA")
    cdef sona_f32 *pdb = floats_out(dB, 2, "dB")
    cdef const sona_f32 *pw = NULL
    cdef int ndim = cnp.PyArray_NDIM(<cnp.ndarray> x)
    cdef Py_ssize_t n, d, rank
    if not 1 <= ndim <= 2:
        raise InvalidValue(f"x has shape {x.shape}, expected (d,) or (n, d)")
    n = axis(x, 0) if ndim == 2 else 1
    d = axis(x, ndim - 1)
    rank = rank_of(A, B, d)
    same_shape(delta, x, "delta")
    same_shape(dA, A, "dA")
    same_shape(dB, B, "dB")
    if weights is not None:
        pw = floats(weights, 1, "weights")
        same(n, axis(weights, 0), "weights")
    with nogil:
        sona_active.lora_backward(px, pd, pw, pa, pb, <float> scale, rank, n, d, pda, pdb)


# ---- Elementwise ----

def fisher_update(
    F,              # INOUT float32, any shape
    g,              # IN like F: the raw gradient
    double decay,
):
    """F = decay * F + (1 - decay) * g**2, in place."""
    cdef sona_f32 *pf = floats_out(F, -1, "F")
    cdef const sona_f32 *pg = floats(g, -1, "g")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(F)
    same_shape(g, F, "g")
    if not 0.0 <= decay <= 1.0:
        raise InvalidValue(f"decay is {decay}, expected 0 to 1")
    with nogil:
        sona_active.fisher_update(pf, pg, decay, n)


def ewc_prox(
    theta,          # INOUT float32, any shape
    F,              # IN like theta, not negative
    optimum,        # IN like theta
    double step,
):
    """theta = (theta + step * F * optimum) / (1 + step * F), in place."""
    cdef sona_f32 *pt = floats_out(theta, -1, "theta")
    cdef const sona_f32 *pf = floats(F, -1, "F")
    cdef const sona_f32 *po = floats(optimum, -1, "optimum")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(theta)
    same_shape(F, theta, "F")
    same_shape(optimum, theta, "optimum")
    if not 0.0 <= step < 3e38:
        raise InvalidValue(f"step is {step}, expected a finite number of at least 0")
    with nogil:
        sona_active.ewc_prox(pt, pf, po, <float> step, n)


def normalize_rows(
    X,              # IN (n, d) float32
    out,            # OUT (n, d); may be X itself
):
    """Scale each row to length 1 and return how many rows were zero (they stay zero)."""
    cdef const sona_f32 *px = floats(X, 2, "X")
    cdef sona_f32 *po = floats_out(out, 2, "out")
    cdef Py_ssize_t n = axis(X, 0), d = axis(X, 1), zeros
    same_shape(out, X, "out")
    with nogil:
        zeros = sona_active.normalize_rows(px, n, d, po)
    return zeros


def all_finite(
    x,              # IN float32, any shape
):
    """True if no element is NaN or infinite."""
    cdef const sona_f32 *px = floats(x, -1, "x")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef bint finite
    if n <= SMALL:
        finite = sona_active.all_finite(px, n)
    else:
        with nogil:
            finite = sona_active.all_finite(px, n)
    return finite


def exp_negative(
    x,              # INOUT float32, any shape, none above 0
):
    """x = e**x, in place."""
    cdef sona_f32 *px = floats_out(x, -1, "x")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    with nogil:
        sona_active.exp_negative(px, n)


include "search.pxi"
include "kmeans.pxi"
include "wire.pxi"
include "routing.pxi"
include "ranking.pxi"
include "dreaming.pxi"
