/* Binary COPY TO, parsed into columns that the caller owns. */
#ifndef SONA_COPY_DECODE_H
#define SONA_COPY_DECODE_H

#include "sona_kernels.h"

typedef enum {
    COPY_BOOL, COPY_INT2, COPY_INT4, COPY_INT8, COPY_FLOAT4, COPY_FLOAT8, /* 1, 2, 4, 8, 4, 8 bytes, made native */
    COPY_UUID,    /* 16 bytes as they are */
    COPY_VECTOR,  /* float32[dimension] */
    COPY_HALFVEC, /* float32[dimension] */
    COPY_BYTES    /* any length: int64 offset into the arena and int64 length */
} copy_kind;

typedef struct {
    copy_kind kind;
    int32_t dimension;
    uint8_t *values; /* one element a row, zeroed where NULL */
    uint8_t *nulls;  /* 1 where NULL */
} copy_column;

typedef struct {
    copy_column *columns;
    int32_t count;
    ptrdiff_t rows, capacity;
    uint8_t *arena;
    ptrdiff_t arena_used, arena_capacity;
    int header_seen, trailer_seen;
    /* Error after a COPY_BAD_* status: rows is the row, column may be -1. */
    int32_t column;
    int64_t found, expected;
} copy_state;

typedef enum {
    COPY_NEEDS_INPUT, /* all complete rows are decoded; feed the rest again, followed by more */
    COPY_NEEDS_ROWS,  /* rows == capacity: enlarge the columns and call again */
    COPY_NEEDS_ARENA, /* `found` more bytes of arena are needed: enlarge it and call again */
    COPY_BAD_SIGNATURE, COPY_BAD_FLAGS, COPY_BAD_COUNT, COPY_BAD_LENGTH, COPY_BAD_DIMENSION, COPY_BAD_TRAILING
} copy_status;

size_t copy_value_size(const copy_column *column);
/* Decodes complete rows only. `used` is the number of bytes consumed. */
copy_status copy_decode(copy_state *state, const sona_kernels *K, const uint8_t *bytes, ptrdiff_t n, ptrdiff_t *used);

/* 1 if the flag was free and is now ours: a decoder refuses a second thread instead of corrupting itself. */
static inline int copy_enter(int *busy) { return !__atomic_exchange_n(busy, 1, __ATOMIC_ACQUIRE); }
static inline void copy_leave(int *busy) { __atomic_store_n(busy, 0, __ATOMIC_RELEASE); }

#endif
