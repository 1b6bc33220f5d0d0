/* The format (PostgreSQL documentation, COPY, "Binary Format"): an 11-byte signature, int32 flags, int32 length of
 * an extension to skip; rows of int16 field count, then for each field int32 length (-1 is NULL) and the bytes;
 * a field count of -1 ends it. All integers are big-endian. pgvector's vector and halfvec are int16 dimension,
 * int16 unused, then float32 or float16 elements.
 *
 * A row is decoded straight into its place and counts only when it is complete, so input may stop at any byte.
 */
#include "copy_decode.h"
#include "scalar_bytes.h"

static const uint8_t SIGNATURE[11] = "PGCOPY\n\377\r\n";

static int16_t load_be16(const uint8_t *p)
{
    return (int16_t)(p[0] << 8 | p[1]);
}

size_t copy_value_size(const copy_column *column)
{
    switch (column->kind) {
    case COPY_BOOL: return 1;
    case COPY_INT2: return 2;
    case COPY_INT4: case COPY_FLOAT4: return 4;
    case COPY_INT8: case COPY_FLOAT8: return 8;
    case COPY_UUID: case COPY_BYTES: return 16;
    case COPY_VECTOR: case COPY_HALFVEC: return 4 * (size_t)column->dimension;
    }
    return 0;
}

static copy_status wrong(copy_state *state, copy_status status, int32_t column, int64_t found, int64_t expected)
{
    state->column = column;
    state->found = found;
    state->expected = expected;
    return status;
}

static copy_status read_header(copy_state *state, const uint8_t *bytes, ptrdiff_t n, ptrdiff_t *used)
{
    const size_t seen = n < (ptrdiff_t)sizeof SIGNATURE ? (size_t)n : sizeof SIGNATURE;
    if (memcmp(bytes, SIGNATURE, seen) != 0)
        return wrong(state, COPY_BAD_SIGNATURE, -1, 0, 0);
    if (n < 19)
        return COPY_NEEDS_INPUT;
    const uint32_t flags = load_be32(bytes + 11);
    if (flags != 0) /* the upper half marks formats a reader must refuse, the lower half is all zero today */
        return wrong(state, COPY_BAD_FLAGS, -1, flags, 0);
    const int32_t extension = (int32_t)load_be32(bytes + 15);
    if (extension < 0)
        return wrong(state, COPY_BAD_LENGTH, -1, extension, 0);
    if (n - 19 < extension)
        return COPY_NEEDS_INPUT;
    *used = 19 + extension;
    state->header_seen = 1;
    return COPY_NEEDS_INPUT;
}

static void swap_bytes(const uint8_t *from, size_t size, uint8_t *to)
{
    uint64_t eight;
    uint32_t four;
    uint16_t two;
    switch (size) {
    case 8: memcpy(&eight, from, 8); eight = __builtin_bswap64(eight); memcpy(to, &eight, 8); break;
    case 4: memcpy(&four, from, 4); four = __builtin_bswap32(four); memcpy(to, &four, 4); break;
    case 2: memcpy(&two, from, 2); two = __builtin_bswap16(two); memcpy(to, &two, 2); break;
    default: *to = *from;
    }
}

/* One field that is not NULL, all of whose bytes are there. */
static copy_status read_value(copy_state *state, const sona_kernels *K, int32_t index, const uint8_t *bytes,
                              int32_t length, uint8_t *to)
{
    const copy_column *column = &state->columns[index];
    const size_t size = copy_value_size(column);
    switch (column->kind) {
    case COPY_BYTES: {
        if (state->arena_capacity - state->arena_used < length)
            return wrong(state, COPY_NEEDS_ARENA, index, length, 0);
        const int64_t place[2] = {state->arena_used, length};
        memcpy(state->arena + state->arena_used, bytes, (size_t)length);
        state->arena_used += length;
        memcpy(to, place, sizeof place);
        return COPY_NEEDS_INPUT;
    }
    case COPY_VECTOR: case COPY_HALFVEC: {
        const int width = column->kind == COPY_VECTOR ? 4 : 2;
        if (length < 4)
            return wrong(state, COPY_BAD_LENGTH, index, length, 4 + (int64_t)width * column->dimension);
        const int32_t dimension = load_be16(bytes);
        if (dimension != column->dimension)
            return wrong(state, COPY_BAD_DIMENSION, index, dimension, column->dimension);
        if (length != 4 + width * dimension)
            return wrong(state, COPY_BAD_LENGTH, index, length, 4 + (int64_t)width * dimension);
        (width == 4 ? K->be_to_f32 : K->f16_be_to_f32)(bytes + 4, dimension, (sona_f32 *)to);
        return COPY_NEEDS_INPUT;
    }
    default:
        if ((size_t)length != size)
            return wrong(state, COPY_BAD_LENGTH, index, length, (int64_t)size);
        if (column->kind == COPY_UUID)
            memcpy(to, bytes, size);
        else
            swap_bytes(bytes, size, to);
        return COPY_NEEDS_INPUT;
    }
}

/* COPY_NEEDS_INPUT with *used == 0 means that the row is not complete yet. */
static copy_status read_row(copy_state *state, const sona_kernels *K, const uint8_t *bytes, ptrdiff_t n,
                            ptrdiff_t *used)
{
    *used = 0;
    if (n < 2)
        return COPY_NEEDS_INPUT;
    const int16_t fields = load_be16(bytes);
    if (fields == -1) {
        state->trailer_seen = 1;
        *used = 2;
        return COPY_NEEDS_INPUT;
    }
    if (fields != state->count)
        return wrong(state, COPY_BAD_COUNT, -1, fields, state->count);
    if (state->rows == state->capacity)
        return COPY_NEEDS_ROWS;
    ptrdiff_t at = 2;
    for (int32_t c = 0; c < state->count; c++) {
        const copy_column *column = &state->columns[c];
        const size_t size = copy_value_size(column);
        uint8_t *to = column->values + (size_t)state->rows * size;
        if (n - at < 4)
            return COPY_NEEDS_INPUT;
        const int32_t length = (int32_t)load_be32(bytes + at);
        at += 4;
        column->nulls[state->rows] = length == -1;
        if (length == -1) {
            memset(to, 0, size);
            continue;
        }
        if (length < 0)
            return wrong(state, COPY_BAD_LENGTH, c, length, -1);
        if (n - at < length)
            return COPY_NEEDS_INPUT;
        const copy_status status = read_value(state, K, c, bytes + at, length, to);
        if (status != COPY_NEEDS_INPUT)
            return status;
        at += length;
    }
    state->rows++;
    *used = at;
    return COPY_NEEDS_INPUT;
}

copy_status copy_decode(copy_state *state, const sona_kernels *K, const uint8_t *bytes, ptrdiff_t n, ptrdiff_t *used)
{
    *used = 0;
    if (!state->header_seen) {
        const copy_status status = read_header(state, bytes, n, used);
        if (!state->header_seen)
            return status;
    }
    while (*used < n) {
        ptrdiff_t taken;
        const ptrdiff_t arena_before = state->arena_used;
        if (state->trailer_seen)
            return wrong(state, COPY_BAD_TRAILING, -1, n - *used, 0);
        const copy_status status = read_row(state, K, bytes + *used, n - *used, &taken);
        if (taken == 0) {
            state->arena_used = arena_before; /* texts of an unfinished row are decoded again */
            return status;
        }
        *used += taken;
    }
    return COPY_NEEDS_INPUT;
}
