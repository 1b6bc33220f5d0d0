"""Interface for other compiled modules: the C table of kernels.

A second extension does

    from kernels cimport sona_kernels, import_active

    cdef const sona_kernels *const *active = import_active()     # once, at module import
    active[0].f32_to_f16_be(x, n, out)                           # anywhere, without the GIL

and needs `cython_ext` among its include directories, nothing of ours at link time. The double pointer lets the tests
switch instruction sets under a module that has already imported the table.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from cpython.pycapsule cimport PyCapsule_Import


cdef extern from "sona_kernels.h" nogil:
    ctypedef float sona_f32
    ctypedef double sona_f64
    ctypedef int32_t sona_i32
    enum: SONA_MAX_RANK

    # sona_kernels.h documents each function.
    ctypedef struct sona_kernels:
        const char *isa
        Py_ssize_t panel
        float (*dot)(const sona_f32 *a, const sona_f32 *b, Py_ssize_t d) noexcept nogil
        void (*dot_rows)(const sona_f32 *q, const sona_f32 *C, Py_ssize_t m, Py_ssize_t d, sona_f32 *out) noexcept nogil
        void (*dot_rows_u8)(const int8_t *q, const uint8_t *rows, Py_ssize_t m, Py_ssize_t d, sona_i32 *out) noexcept nogil
        void (*lora_forward)(const sona_f32 *x, const sona_f32 *A, const sona_f32 *B, float scale, Py_ssize_t rank,
                             Py_ssize_t n, Py_ssize_t d, sona_f32 *y) noexcept nogil
        void (*lora_backward)(const sona_f32 *x, const sona_f32 *delta, const sona_f32 *weights, const sona_f32 *A,
                              const sona_f32 *B, float scale, Py_ssize_t rank, Py_ssize_t n, Py_ssize_t d,
                              sona_f32 *dA, sona_f32 *dB) noexcept nogil
        void (*add_row)(sona_f64 *sum, const sona_f32 *x, double weight, Py_ssize_t d) noexcept nogil
        void (*fisher_update)(sona_f32 *F, const sona_f32 *g, double decay, Py_ssize_t n) noexcept nogil
        void (*ewc_prox)(sona_f32 *theta, const sona_f32 *F, const sona_f32 *optimum, float step,
                         Py_ssize_t n) noexcept nogil
        Py_ssize_t (*normalize_rows)(const sona_f32 *X, Py_ssize_t n, Py_ssize_t d, sona_f32 *out) noexcept nogil
        bint (*all_finite)(const sona_f32 *x, Py_ssize_t n) noexcept nogil
        void (*exp_negative)(sona_f32 *x, Py_ssize_t n) noexcept nogil
        Py_ssize_t (*f32_to_f16_be)(const sona_f32 *x, Py_ssize_t n, uint8_t *out) noexcept nogil
        void (*f16_be_to_f32)(const uint8_t *data, Py_ssize_t n, sona_f32 *out) noexcept nogil
        void (*f32_to_be)(const sona_f32 *x, Py_ssize_t n, uint8_t *out) noexcept nogil
        void (*be_to_f32)(const uint8_t *data, Py_ssize_t n, sona_f32 *out) noexcept nogil
        uint32_t (*crc32c)(uint32_t seed, const uint8_t *data, Py_ssize_t n) noexcept nogil


cdef inline const sona_kernels *const *import_active() except NULL:
    """The address of the pointer to the table in use; raises ImportError if sona_pg._kernels cannot be loaded."""
    return <const sona_kernels *const *> PyCapsule_Import("sona_pg._kernels._active_table", 0)
