# Postgres' binary formats: half and single precision, checksums, COPY.

@cython.final
cdef class Bytes:
    """A borrowed view of any bytes-like object, released with this object."""
    cdef Py_buffer view

    def __cinit__(self, object data):
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef Py_ssize_t elements(Py_ssize_t length, int width) except -1:
    if length % width:
        raise InvalidValue(f"data has {length} bytes, expected a multiple of {width}")
    return length // width


def f32_to_f16_be(
    x,              # IN float32, any shape
):
    """The elements as big-endian IEEE half precision, rounded to nearest even; InvalidValue if one does not fit."""
    cdef const sona_f32 *px = floats(x, -1, "x")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    out = PyBytes_FromStringAndSize(NULL, 2 * n)
    lost = sona_active.f32_to_f16_be(px, n, <uint8_t *> PyBytes_AS_STRING(out))
    if lost:
        raise InvalidValue(f"{lost} of {n} elements of x are NaN, infinite, or beyond 65504 in half precision: "
                           "normalise x, or store it as vector")
    return out


def f32_to_be(
    x,              # IN float32, any shape
):
    """The elements as big-endian single precision."""
    cdef const sona_f32 *px = floats(x, -1, "x")
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    out = PyBytes_FromStringAndSize(NULL, 4 * n)
    sona_active.f32_to_be(px, n, <uint8_t *> PyBytes_AS_STRING(out))
    return out


def f16_be_to_f32(
    data,           # IN bytes-like
):
    """Big-endian half precision as (n,) float32."""
    cdef Bytes source = Bytes(data)
    cdef Py_ssize_t n = elements(source.view.len, 2)
    out = empty(1, n, 0, cnp.NPY_FLOAT32)
    sona_active.f16_be_to_f32(<const uint8_t *> source.view.buf, n, <sona_f32 *> cnp.PyArray_DATA(out))
    return out


def be_to_f32(
    data,           # IN bytes-like
):
    """Big-endian single precision as (n,) float32."""
    cdef Bytes source = Bytes(data)
    cdef Py_ssize_t n = elements(source.view.len, 4)
    out = empty(1, n, 0, cnp.NPY_FLOAT32)
    sona_active.be_to_f32(<const uint8_t *> source.view.buf, n, <sona_f32 *> cnp.PyArray_DATA(out))
    return out


def crc32c(
    data,           # IN bytes-like
    uint32_t seed=0,
):
    """CRC-32C (Castagnoli); pass the last result as `seed` to go on."""
    cdef Bytes source = Bytes(data)
    cdef uint32_t crc = seed
    if source.view.len <= SMALL:
        crc = sona_active.crc32c(seed, <const uint8_t *> source.view.buf, source.view.len)
    else:
        with nogil:
            crc = sona_active.crc32c(seed, <const uint8_t *> source.view.buf, source.view.len)
    return crc


# ---- Binary COPY ----

cdef extern from "copy_decode.h" nogil:
    ctypedef enum copy_kind:
        COPY_BOOL, COPY_INT2, COPY_INT4, COPY_INT8, COPY_FLOAT4, COPY_FLOAT8, COPY_UUID, COPY_VECTOR, COPY_HALFVEC
        COPY_BYTES
    ctypedef struct copy_column:
        copy_kind kind
        int32_t dimension
        uint8_t *values
        uint8_t *nulls
    ctypedef struct copy_state:
        copy_column *columns
        int32_t count
        Py_ssize_t rows, capacity
        uint8_t *arena
        Py_ssize_t arena_used, arena_capacity
        bint header_seen, trailer_seen
        int32_t column
        int64_t found, expected
    ctypedef enum copy_status:
        COPY_NEEDS_INPUT, COPY_NEEDS_ROWS, COPY_NEEDS_ARENA
        COPY_BAD_SIGNATURE, COPY_BAD_FLAGS, COPY_BAD_COUNT, COPY_BAD_LENGTH, COPY_BAD_DIMENSION, COPY_BAD_TRAILING
    copy_status copy_decode(copy_state *state, const sona_kernels *K, const uint8_t *data, Py_ssize_t n,
                            Py_ssize_t *used) noexcept
    bint copy_enter(int *busy) noexcept
    void copy_leave(int *busy) noexcept

# Type name: the C type, the NumPy type of the column, the elements a row (0: the dimension given).
cdef dict COPY_TYPES = {
    "bool": (COPY_BOOL, cnp.NPY_BOOL, 1), "int2": (COPY_INT2, cnp.NPY_INT16, 1), "int4": (COPY_INT4, cnp.NPY_INT32, 1),
    "int8": (COPY_INT8, cnp.NPY_INT64, 1), "timestamptz": (COPY_INT8, cnp.NPY_INT64, 1),
    "float4": (COPY_FLOAT4, cnp.NPY_FLOAT32, 1), "float8": (COPY_FLOAT8, cnp.NPY_FLOAT64, 1),
    "uuid": (COPY_UUID, cnp.NPY_UINT8, 16), "vector": (COPY_VECTOR, cnp.NPY_FLOAT32, 0),
    "halfvec": (COPY_HALFVEC, cnp.NPY_FLOAT32, 0), "text": (COPY_BYTES, cnp.NPY_INT64, 2),
    "jsonb": (COPY_BYTES, cnp.NPY_INT64, 2), "bytea": (COPY_BYTES, cnp.NPY_INT64, 2),
}
cdef object POSTGRES_EPOCH = 946684800000000  # microseconds from 1970-01-01 to 2000-01-01


@cython.final
cdef class CopyDecoder:
    """Binary COPY TO, in chunks cut anywhere, into one array a column.

    columns: (name, type) or (name, "vector" | "halfvec", dimension); types are bool, int2, int4, int8, float4,
    float8, timestamptz, uuid, text, jsonb, bytea, vector, halfvec. capacity: rows to make room for at first.
    One decoder serves one stream and one thread; a second thread is refused.
    """
    cdef copy_state state
    cdef int busy
    cdef tuple names, types
    cdef list arrays, masks
    cdef bytes rest

    def __cinit__(self):
        self.busy = 0

    def __init__(self, columns, Py_ssize_t capacity=1024):
        cdef int32_t i
        if self.state.columns != NULL:
            raise InvalidValue("a CopyDecoder serves one stream: make a new one")
        columns = [tuple(column) for column in columns]
        if capacity < 1:
            raise InvalidValue(f"capacity is {capacity}, expected at least one row")
        self.state.columns = <copy_column *> PyMem_Calloc(len(columns) + 1, sizeof(copy_column))
        if self.state.columns == NULL:
            raise MemoryError
        self.names = tuple([column[0] for column in columns])
        self.types = tuple([column[1] for column in columns])
        self.rest = b""
        self.arrays, self.masks = [], []
        for i, column in enumerate(columns):
            if column[1] not in COPY_TYPES:
                raise InvalidValue(f"column {column[0]!r} has type {column[1]!r}, expected one of {', '.join(COPY_TYPES)}")
            kind, typenum, width = COPY_TYPES[column[1]]
            if (width == 0) != (len(column) == 3) or (width == 0 and not 1 <= column[2] <= 16000):
                raise InvalidValue(f"column {column} is malformed, expected a dimension of 1 to 16000 for vector and "
                                   "halfvec and none for other types")
            self.state.columns[i].kind = kind
            self.state.columns[i].dimension = column[2] if width == 0 else 0
            width = width or column[2]
            self.arrays.append(empty(1 if width == 1 else 2, 0, width, typenum))
            self.masks.append(empty(1, 0, 0, cnp.NPY_BOOL))
        self.state.count = len(columns)
        self.grow(capacity)

    def __dealloc__(self):
        PyMem_Free(self.state.columns)
        PyMem_Free(self.state.arena)

    cdef int grow(self, Py_ssize_t capacity) except -1:
        cdef int32_t i
        for i in range(self.state.count):
            for arrays in (self.arrays, self.masks):
                old = arrays[i]
                new = empty(old.ndim, capacity, axis(old, old.ndim - 1), cnp.PyArray_TYPE(old))
                new[:self.state.rows] = old[:self.state.rows]
                arrays[i] = new
            self.state.columns[i].values = <uint8_t *> cnp.PyArray_DATA(self.arrays[i])
            self.state.columns[i].nulls = <uint8_t *> cnp.PyArray_DATA(self.masks[i])
        self.state.capacity = capacity
        return 0

    cdef int grow_arena(self) except -1:
        cdef Py_ssize_t capacity = 2 * self.state.arena_capacity + self.state.found + 4096
        cdef void *arena = PyMem_Realloc(self.state.arena, capacity)
        if arena == NULL:
            raise MemoryError
        self.state.arena = <uint8_t *> arena
        self.state.arena_capacity = capacity
        return 0

    cdef fail(self, copy_status status):
        found, expected = self.state.found, self.state.expected
        if self.state.column < 0:
            where = f"row {self.state.rows}"
        else:
            where = f"row {self.state.rows}, column {self.names[self.state.column]!r} ({self.types[self.state.column]})"
        if status == COPY_BAD_DIMENSION:
            raise DimensionMismatch(expected, found, f"COPY {where}")
        if status == COPY_BAD_SIGNATURE:
            raise InvalidValue("the stream does not begin with the signature of binary COPY: use COPY ... (FORMAT BINARY)")
        if status == COPY_BAD_FLAGS:
            raise InvalidValue(f"the COPY header has flags {found:#x}, expected 0: this format is newer than we know")
        if status == COPY_BAD_COUNT:
            raise InvalidValue(f"COPY {where}: {found} fields, expected {expected}: name the same columns in the "
                               "statement and here")
        if status == COPY_BAD_TRAILING:
            raise InvalidValue(f"COPY: {found} bytes after the end of data")
        raise InvalidValue(f"COPY {where}: a length of {found} bytes, expected {expected}")

    def feed(
        self,
        chunk,      # IN bytes-like, cut anywhere
    ):
        """Decode all complete rows; the rest waits for the next chunk."""
        cdef Bytes source
        cdef const uint8_t *data
        cdef Py_ssize_t n, used
        cdef copy_status status
        if not copy_enter(&self.busy):
            raise InvalidValue("this CopyDecoder is in use by another thread")
        try:
            if self.rest:
                chunk = self.rest + bytes(chunk)
            source = Bytes(chunk)
            data = <const uint8_t *> source.view.buf
            n = source.view.len
            while True:
                if n <= 4096:
                    status = copy_decode(&self.state, sona_active, data, n, &used)
                else:
                    with nogil:
                        status = copy_decode(&self.state, sona_active, data, n, &used)
                data += used
                n -= used
                if status == COPY_NEEDS_ROWS:
                    self.grow(2 * self.state.capacity)
                elif status == COPY_NEEDS_ARENA:
                    self.grow_arena()
                elif status == COPY_NEEDS_INPUT:
                    break
                else:
                    self.fail(status)
            self.rest = PyBytes_FromStringAndSize(<const char *> data, n) if n else b""
        finally:
            copy_leave(&self.busy)

    @property
    def rows(self):
        """Number of complete rows."""
        return self.state.rows

    @property
    def null_masks(self):
        """For each column (rows,) bool, True where the value is NULL. The value there is 0, or None for objects."""
        return {name: mask[:self.state.rows] for name, mask in zip(self.names, self.masks)}

    def finish(self):
        """The columns by name, trimmed to the rows read; InvalidValue if the stream did not reach its end.

        uuid is (rows, 16) uint8, timestamptz datetime64[us] (UTC), vector and halfvec (rows, dimension) float32,
        text and jsonb an object array of str, bytea one of bytes.
        """
        cdef int32_t i
        if not self.state.trailer_seen:
            raise InvalidValue(f"the COPY stream ended after {self.state.rows} rows without its trailer: it was cut off")
        result = {}
        for i in range(self.state.count):
            array, mask = self.arrays[i][:self.state.rows], self.masks[i][:self.state.rows]
            if self.types[i] == "timestamptz":
                array = (array + POSTGRES_EPOCH).view("datetime64[us]")
            elif self.state.columns[i].kind == COPY_BYTES:
                array = self.objects(array, mask, self.types[i])
            result[self.names[i]] = array
        return result

    cdef object objects(self, object places, object mask, str kind):
        """The arena's pieces as Python objects. jsonb carries a version byte in front of its text."""
        cdef Py_ssize_t row, skip = 1 if kind == "jsonb" else 0
        cdef const int64_t *place = <const int64_t *> cnp.PyArray_DATA(places)
        cdef const uint8_t *null = <const uint8_t *> cnp.PyArray_DATA(mask)
        values = cnp.PyArray_EMPTY(1, cnp.PyArray_DIMS(mask), cnp.NPY_OBJECT, 0)
        for row in range(self.state.rows):
            if null[row] or place[2 * row + 1] < skip:
                continue
            value = PyBytes_FromStringAndSize(<const char *> self.state.arena + place[2 * row] + skip,
                                              place[2 * row + 1] - skip)
            values[row] = value if kind == "bytea" else value.decode()
        return values
