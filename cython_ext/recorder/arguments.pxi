# Arguments from Python: a fast path for values of the right type, conversion and clear errors for others.


cdef dict KINDS = {"U": "texts", "S": "bytes", "O": "other things", "c": "complex numbers", "M": "dates", "m": "durations"}
cdef int64_t A_DAY = 86400000000  # microseconds: the clock of whoever logged may be ahead


cdef inline cnp.ndarray floats(object x, str what):
    """x as (n,) float32, contiguous, in native byte order."""
    if (
        cnp.PyArray_CheckExact(x)
        and cnp.PyArray_TYPE(<cnp.ndarray> x) == cnp.NPY_FLOAT32
        and cnp.PyArray_NDIM(<cnp.ndarray> x) == 1
        and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray> x)
        and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray> x)
    ):
        return <cnp.ndarray> x
    return converted(x, 1, what)


cdef cnp.ndarray converted(object x, int dimensions, str what):
    try:
        with np.errstate(over="ignore"):  # out of range becomes infinite, which is refused by name later
            values = np.ascontiguousarray(x)
            if values.dtype.kind not in "fiub":
                raise InvalidValue(f"{what} holds {KINDS.get(values.dtype.kind, 'records')}, expected real numbers alone")
            values = np.asarray(values, dtype=np.float32, order="C")
    except (TypeError, ValueError) as exc:
        if isinstance(exc, InvalidValue):
            raise
        reason = "its rows have different lengths" if "inhomogeneous" in str(exc) else exc
        raise InvalidValue(f"{what} is no array of numbers: {reason}") from exc
    # ascontiguousarray makes a scalar an array of one
    if values.ndim > dimensions or np.ndim(x) == 0:
        expected = "(n,)" if dimensions == 1 else "(n,) or (m, n)"
        raise InvalidValue(f"{what} has shape {np.shape(x)}, expected {expected}")
    return values


cdef object out_of_range(cnp.ndarray values, str what):
    index = int(np.argmax(~(np.abs(values) <= 65504)))
    return InvalidValue(
        f"{what}[{index}] is {float(values[index])!r}, expected a finite number within ±65504: "
        "it is stored in half precision"
    )


cdef inline double number(object value, str what) except? -1.5:
    if type(value) is float:
        return <double> value
    if isinstance(value, (bool, np.bool_, str, bytes, bytearray)):  # float() would take them
        raise WrongType(f"{what} is {value!r}, expected a number, not text or a truth value")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidValue(f"{what} is {value!r}, expected a number") from exc


cdef inline double fraction(object value, str what) except -1.0:
    cdef double result = number(value, what)
    if not 0.0 <= result <= 1.0:
        raise InvalidValue(f"{what} is {value!r}, expected a number from 0 to 1")
    return result


cdef int64_t whole(object value, str what) except? -1:
    try:
        return value.__index__()
    except (AttributeError, TypeError, OverflowError) as exc:
        raise InvalidValue(f"{what} is {value!r}, expected a whole number of 64 bits") from exc


cdef inline int32_t microseconds(int64_t nanoseconds) noexcept:
    """Convert, up to 35 minutes: the maximum of the column (int4)."""
    cdef int64_t result = nanoseconds // 1000
    return MAX_INT4 if result > MAX_INT4 else <int32_t> result


cdef int32_t latency_of(object seconds) except -2:
    """Seconds as microseconds, up to 35 minutes; NaN: unknown, -1."""
    cdef double value = number(seconds, "latency")
    if value != value:
        return -1
    if not 0.0 <= value < 1e12:
        raise InvalidValue(f"latency is {seconds!r}, expected seconds, 0 or more")
    return microseconds(<int64_t> (min(value, 1e6) * 1e9))


cpdef bytes told_id(object id, object started_at):
    """The 16 bytes of a caller's own id, of the time at which its trajectory began."""
    name = id
    if isinstance(id, str):
        try:
            name = UUID(id)
        except ValueError:
            if started_at is None:
                raise InvalidValue(f"id is {id[:60]!r}: give started_at as well, from which an id is made, or a UUIDv7") from None
    elif id is not None and not isinstance(id, UUID):
        raise InvalidValue(f"id is {id!r}, expected a UUID or a text")
    if started_at is None:
        if name.version != 7:
            raise InvalidValue(f"id {name} is no UUIDv7, which tells its time: give started_at as well")
        if name.int >> 80 > (sona_wall_us() + A_DAY) // 1000:
            raise InvalidValue(f"id {name} is of a time more than a day ahead of this machine's clock")
        return name.bytes
    if not isinstance(started_at, datetime) or started_at.tzinfo is None:
        raise InvalidValue(f"started_at is {started_at}, expected a datetime with a time zone")
    cdef double seconds = started_at.timestamp()
    if not 0 <= seconds < 253402300800.0:
        raise InvalidValue(f"started_at is {started_at}, expected a time from 1970 on")
    cdef int64_t wall = <int64_t> (seconds * 1e6 + 0.5)
    if wall > sona_wall_us() + A_DAY:
        raise InvalidValue(f"started_at is {started_at}, more than a day ahead of this machine's clock")
    cdef object ticks = wall // 1000  # a Python int: 48 bits of milliseconds are shifted by 16
    if name is None:
        chance = os.urandom(8)
    else:
        chance = hashlib.blake2b(name.bytes if isinstance(name, UUID) else name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    high = ticks << 16 | 0x7000 | (wall % 1000) * 4096 // 1000
    low = int.from_bytes(chance, "big") >> 2 | 1 << 63
    return high.to_bytes(8, "big") + low.to_bytes(8, "big")


cdef sona_block *take(Ring ring, size_t more, int64_t now, int64_t since_1970) except NULL:
    """A block with an empty record that has an id, of the time ``now`` from ``since_1970``; see ``sona_uuid7``."""
    cdef sona_block *block = sona_block_take(ring.c, sizeof(sona_frame) + sizeof(sona_record) + more)
    if block is NULL:
        raise MemoryError()
    memset(&block.record, 0, sizeof(sona_record))
    block.record.size = sizeof(sona_record)
    if sona_uuid7(now, since_1970, block.record.id) != 0:
        sona_block_give(ring.c, block)
        raise StorageError("the system gives no random bytes (getentropy failed): ids cannot be made")
    return block


cdef sona_item *append(sona_block **block, uint32_t kind, size_t size) except NULL:
    """Room for an item behind the record. It is not part of the record until record.size says so."""
    if size > MAX_RECORD or block[0].record.size + size > MAX_RECORD:
        raise InvalidValue(f"a trajectory takes more than {MAX_RECORD} bytes")
    if sona_block_reserve(block, sizeof(sona_item) + sona_padded(size)) != 0:
        raise MemoryError()
    cdef sona_item *item = <sona_item *> sona_record_at(&block[0].record, block[0].record.size)
    item.kind = kind
    item.size = <uint32_t> size
    return item


cdef int add_text(
    sona_block **block, uint32_t kind, object text, str what, Py_ssize_t least, Py_ssize_t most
) except -1:
    cdef Py_ssize_t size = 0
    cdef const char *utf8
    cdef sona_item *item
    cdef uint8_t *to
    if not isinstance(text, str):
        raise InvalidValue(f"{what} is {text!r}, expected a str")
    try:
        utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError as exc:
        raise InvalidValue(f"{what} is {text!r}, which UTF-8 cannot hold: {exc.reason}") from exc
    if not least <= size <= most:
        raise InvalidValue(f"{what} {shortened(text)} has {size} bytes, expected {least} to {most}")
    if memchr(utf8, 0, size) is not NULL:
        raise InvalidValue(f"{what} is {text!r}: Postgres stores no NUL character")
    item = append(block, kind, size)
    to = <uint8_t *> (item + 1)
    memcpy(to, utf8, size)
    memset(to + size, 0, sona_padded(size) - size)
    block[0].record.size += <uint32_t> (sizeof(sona_item) + sona_padded(size))
    block[0].record.texts += <uint32_t> size
    return 0


cdef str shortened(object text):
    return repr(text) if len(text) <= 40 else repr(text[:40]) + "…"


cdef int set_policy(sona_block *block, object chosen, str what) except -1:
    try:
        version, candidates = chosen.version, chosen.candidate_set
    except AttributeError as exc:
        raise InvalidValue(f"{what} is {chosen!r}, expected what the engine returned when it chose") from exc
    if version is not None:
        block.record.policy_version = whole(version, "version")
        block.record.flags |= SONA_HAS_VERSION
    if candidates is not None:
        block.record.candidate_set = whole(candidates, "candidate_set")
        block.record.flags |= SONA_HAS_CANDIDATES
    return 0


cdef int set_propensity(sona_block *block, object propensity) except -1:
    cdef double value
    if propensity is None:
        return 0
    value = number(propensity, "propensity")
    if not 0.0 < <float> value <= 1.0:
        raise InvalidValue(f"propensity is {propensity!r}, expected a probability above 0")
    block.record.propensity = <float> value
    block.record.flags |= SONA_HAS_PROPENSITY
    return 0


cdef double amount(object cost) except? -1:
    """A cost as a number."""
    cdef double value = number(cost, "cost")
    if not 0.0 <= value <= 1e30:
        raise InvalidValue(f"cost is {cost!r}, expected a finite number, 0 or more")
    return value


cdef int set_cost(sona_block *block, object cost) except -1:
    if cost is None:
        return 0
    block.record.cost = <float> amount(cost)
    block.record.flags |= SONA_HAS_COST
    return 0


cdef int add_features(sona_block **block, object features) except -1:
    cdef cnp.ndarray values
    cdef Py_ssize_t n
    cdef sona_item *item
    if features is None:
        return 0
    values = floats(features, "features")
    n = cnp.PyArray_DIM(values, 0)
    if n > MAX_FEATURES:
        raise InvalidValue(f"a decision has {n} features, expected at most {MAX_FEATURES}")
    if n == 0:
        return 0
    item = append(block, SONA_FEATURES, 4 * n)
    if not sona_copy_checked(<uint8_t *> (item + 1), <const sona_f32 *> cnp.PyArray_DATA(values), n):
        raise out_of_range(values, "features")
    if n & 1:
        memset(<uint8_t *> (item + 1) + 4 * n, 0, 4)
    block[0].record.size += <uint32_t> (sizeof(sona_item) + sona_padded(4 * n))
    block[0].record.features = <uint32_t> n
    return 0


cdef str parameters_text(object parameters):
    """Parameters as JSON that a jsonb column accepts."""
    if not isinstance(parameters, Mapping) or len(parameters) > MAX_PARAMETERS:
        raise InvalidValue(f"parameters is {parameters!r}, expected at most {MAX_PARAMETERS} numbers by name")
    values = {}
    for name, value in parameters.items():
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_PARAMETER_NAME or not name.isprintable():
            raise InvalidValue(
                f"parameter name {name!r} cannot be used: expected 1 to {MAX_PARAMETER_NAME} printable characters"
            )
        if isinstance(value, (bool, str)):
            raise InvalidValue(f"parameters[{name!r}] is {value!r}, expected a number: settings are interpolated")
        values[name] = number(value, f"parameters[{name!r}]")
        if not -1e15 <= values[name] <= 1e15:
            raise InvalidValue(f"parameters[{name!r}] is {value!r}, expected a finite number within ±1e15")
    return json.dumps(values)


cdef object unusable(Ring ring, object closed):
    if ring is None:
        return TrajectoryError("the engine is not initialised: call HotPath.__init__ first")
    if closed is not None:
        return TrajectoryError(closed)
    return TrajectoryError(
        "the engine was opened before this process was forked: open one in each process, with gunicorn's --preload in "
        "post_fork"
    )
