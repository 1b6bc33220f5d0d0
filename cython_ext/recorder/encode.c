/* Records into the binary COPY format of Postgres: https://www.postgresql.org/docs/current/sql-copy.html
 *
 * A stream is a header, rows and a trailer; a row is its number of columns, then each column's length (-1: null) and
 * bytes, big-endian. The order of the columns is that of TRAJECTORY_COLUMNS, STEP_COLUMNS and FEEDBACK_COLUMNS in
 * recorder.pyx.
 */
#include "recorder.h"

#include <math.h>

enum { TRAJECTORY_COLUMNS = 18, STEP_COLUMNS = 7, FEEDBACK_COLUMNS = 9 };
enum { TEXT_OID = 25, REAL_OID = 700 };
/* Most bytes of a row without its texts and vectors: column count, then 4 for each length and the values. */
enum { TRAJECTORY_ROW = 2 + 4 * TRAJECTORY_COLUMNS + 116, STEP_ROW = 2 + 4 * STEP_COLUMNS + 60, FEEDBACK_ROW = 128 };

#define POSTGRES_EPOCH_US INT64_C(946684800000000)

static const uint8_t HEADER[19] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0";
static const uint8_t TRAILER[2] = {0xff, 0xff};

static inline uint8_t *put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
    return p + 2;
}

static inline uint8_t *put32(uint8_t *p, uint32_t v)
{
    return put16(put16(p, v >> 16), v & 0xffff);
}

static inline uint8_t *put64(uint8_t *p, uint64_t v)
{
    return put32(put32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

static inline uint8_t *put_null(uint8_t *p)
{
    return put32(p, UINT32_MAX);
}

static inline uint8_t *put_int2(uint8_t *p, uint32_t v)
{
    return put16(put32(p, 2), v);
}

static inline uint8_t *put_int4(uint8_t *p, int32_t v)
{
    return put32(put32(p, 4), (uint32_t)v);
}

static inline uint8_t *put_int8(uint8_t *p, int64_t v)
{
    return put64(put32(p, 8), (uint64_t)v);
}

static inline uint8_t *put_real(uint8_t *p, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return put32(put32(p, 4), bits);
}

static inline uint8_t *put_bytes(uint8_t *p, const uint8_t *bytes, uint32_t n)
{
    p = put32(p, n);
    memcpy(p, bytes, n);
    return p + n;
}

static inline uint8_t *put_halfvec(const sona_kernels *kernels, uint8_t *p, const uint8_t *floats, uint32_t n)
{
    if (n == 0)
        return put_null(p);
    p = put16(put16(put32(p, 4 + 2 * n), n), 0);
    kernels->f32_to_f16_be((const sona_f32 *)floats, (ptrdiff_t)n, p);
    return p + 2 * n;
}

static inline const uint8_t *embedding_of(const sona_record *record)
{
    return (const uint8_t *)record + sizeof *record;
}

static inline const sona_item *first_item(const sona_record *record)
{
    return (const sona_item *)(embedding_of(record) + sona_padded(4 * (size_t)record->dim));
}

static inline const sona_item *next_item(const sona_item *item)
{
    return (const sona_item *)((const uint8_t *)(item + 1) + sona_padded(item->size));
}

static inline const sona_item *end_of(const sona_record *record)
{
    return (const sona_item *)((const uint8_t *)record + record->size);
}

/* The last item of a kind: a route that is set again replaces the one before. */
static const sona_item *last_item(const sona_record *record, uint32_t kind)
{
    const sona_item *found = NULL, *end = end_of(record);
    for (const sona_item *item = first_item(record); item < end; item = next_item(item))
        if (item->kind == kind)
            found = item;
    return found;
}

static uint8_t *put_text(uint8_t *p, const sona_item *item)
{
    return item == NULL ? put_null(p) : put_bytes(p, (const uint8_t *)(item + 1), item->size);
}

/* jsonb: the version of its binary form, then the text */
static uint8_t *put_json(uint8_t *p, const sona_item *item)
{
    if (item == NULL)
        return put_null(p);
    p = put32(p, item->size + 1);
    *p = 1;
    memcpy(p + 1, item + 1, item->size);
    return p + 1 + item->size;
}

/* text[]: dimensions, has nulls, element type, length, lower bound, elements */
static uint8_t *put_contexts(uint8_t *p, const sona_record *record)
{
    if (record->contexts == 0)
        return put_null(p);
    uint8_t *start = p;
    p = put32(put32(put32(put32(put32(p + 4, 1), 0), TEXT_OID), record->contexts), 1);
    for (const sona_item *item = first_item(record), *end = end_of(record); item < end; item = next_item(item))
        if (item->kind == SONA_CONTEXT)
            p = put_text(p, item);
    put32(start, (uint32_t)(p - start - 4));
    return p;
}

/* real[], in the same form */
static uint8_t *put_features(uint8_t *p, const sona_record *record)
{
    if (record->features == 0)
        return put_null(p);
    const uint8_t *values = (const uint8_t *)(last_item(record, SONA_FEATURES) + 1);
    p = put32(p, 20 + 8 * record->features);
    p = put32(put32(put32(put32(put32(p, 1), 0), REAL_OID), record->features), 1);
    for (uint32_t i = 0; i < record->features; i++) {
        float value;
        memcpy(&value, values + 4 * (size_t)i, 4);
        p = put_real(p, value);
    }
    return p;
}

static uint8_t *put_lowest_reward(uint8_t *p, const sona_record *record)
{
    if (record->step_count == 0)
        return put_null(p);
    float lowest = __builtin_inff();
    for (const sona_item *item = first_item(record), *end = end_of(record); item < end; item = next_item(item))
        if (item->kind == SONA_STEP && ((const sona_step *)(item + 1))->reward < lowest)
            lowest = ((const sona_step *)(item + 1))->reward;
    return put_real(p, lowest);
}

void sona_measure(const sona_record *const *records, size_t n, size_t dim, sona_sizes *sizes)
{
    const size_t around = sizeof HEADER + sizeof TRAILER;
    *sizes = (sona_sizes){.trajectory_bytes = around, .step_bytes = around, .feedback_bytes = around};
    for (size_t i = 0; i < n; i++) {
        const sona_record *record = records[i];
        if (i + 4 < n)
            __builtin_prefetch(records[i + 4]);
        if (record->kind == SONA_TRAJECTORY) {
            sizes->trajectories++;
            sizes->judged |= (record->flags & SONA_HAS_QUALITY) &&
                             (record->flags & (SONA_HAS_CANDIDATES | SONA_HAS_PROPENSITY));
            sizes->steps += record->step_count;
            sizes->full_steps += record->full_steps;
            sizes->trajectory_bytes += TRAJECTORY_ROW + 2 * dim + record->texts + 4 * (size_t)record->contexts +
                                       8 * (size_t)record->features;
            sizes->step_bytes += STEP_ROW * (size_t)record->step_count + 2 * (size_t)record->floats;
        } else {
            sizes->feedback++;
            sizes->judged = 1;
            sizes->feedback_bytes += FEEDBACK_ROW + (size_t)record->texts;
            sizes->sequence_given |= record->flags & SONA_SEQUENCE_GIVEN;
        }
    }
}

typedef struct {
    const sona_kernels *kernels;
    const sona_rows *out;
    uint8_t *trajectory, *step, *feedback; /* where the next row goes */
    size_t n, m, s, k;                     /* rows done; k: full steps */
    size_t dim;
    int32_t space;
    int64_t batch, correction;
} encoder;

static void encode_steps(encoder *e, const sona_record *record)
{
    const sona_rows *out = e->out;
    uint8_t *p = e->step;
    uint32_t ordinal = 0;
    for (const sona_item *item = first_item(record), *end = end_of(record); item < end; item = next_item(item)) {
        if (item->kind != SONA_STEP)
            continue;
        const sona_step *step = (const sona_step *)(item + 1);
        const uint8_t *floats = (const uint8_t *)(step + 1);
        p = put16(p, STEP_COLUMNS);
        p = put_int4(p, e->space);
        p = put_bytes(p, record->id, 16);
        p = put_int2(p, ordinal++);
        p = put_int4(p, (int32_t)step->offset_us);
        p = put_real(p, step->reward);
        p = put_halfvec(e->kernels, p, floats, step->activations);
        p = put_halfvec(e->kernels, p, floats + 4 * (size_t)step->activations, step->attention);
        out->step_trajectory[e->s] = (int32_t)e->n;
        out->step_rewards[e->s] = step->reward;
        if (step->activations == e->dim) {
            if (out->step_activations != NULL)
                memcpy(out->step_activations + e->k * e->dim, floats, 4 * e->dim);
            out->activation_step[e->k++] = (int32_t)e->s;
        }
        e->s++;
    }
    e->step = p;
}

static void encode_trajectory(encoder *e, const sona_record *record)
{
    const sona_rows *out = e->out;
    const size_t i = e->n;
    uint8_t *p = e->trajectory;
    out->trajectory_rows[i] = p - out->trajectories;
    out->step_rows[i] = e->step - out->steps;
    p = put16(p, TRAJECTORY_COLUMNS);
    p = put_int4(p, e->space);
    p = put_int8(p, e->batch);
    p = put_bytes(p, record->id, 16);
    p = record->flags & SONA_HAS_QUALITY ? put_real(p, record->quality) : put_null(p);
    p = record->flags & SONA_HAS_VERSION ? put_int8(p, record->policy_version) : put_null(p);
    p = record->flags & SONA_HAS_CANDIDATES ? put_int8(p, record->candidate_set) : put_null(p);
    p = record->latency_us < 0 ? put_null(p) : put_int4(p, record->latency_us);
    p = record->flags & SONA_HAS_PROPENSITY ? put_real(p, record->propensity) : put_null(p);
    p = record->flags & SONA_HAS_COST ? put_real(p, record->cost) : put_null(p);
    p = record->flags & SONA_HAS_PAID ? put_real(p, (float)record->paid) : put_null(p);
    p = put_lowest_reward(p, record);
    p = put_int2(p, record->step_count);
    const sona_item *route = record->texts ? last_item(record, SONA_ROUTE) : NULL;
    p = put_text(p, route);
    out->routes[2 * i] = route == NULL ? 0 : p - out->trajectories - route->size;
    out->routes[2 * i + 1] = route == NULL ? -1 : (int64_t)route->size;
    p = put_features(p, record);
    p = put_contexts(p, record);
    p = put_text(p, record->texts ? last_item(record, SONA_QUERY) : NULL);
    p = put_json(p, record->texts ? last_item(record, SONA_PARAMETERS) : NULL);
    p = put_halfvec(e->kernels, p, embedding_of(record), record->dim);
    e->trajectory = p;

    memcpy(out->ids + 16 * i, record->id, 16);
    if (i == 0 || memcmp(record->id, out->first_id, 16) < 0)
        memcpy(out->first_id, record->id, 16);
    if (i == 0 || memcmp(record->id, out->last_id, 16) > 0)
        memcpy(out->last_id, record->id, 16);
    if (out->embeddings != NULL)
        memcpy(out->embeddings + i * e->dim, embedding_of(record), 4 * e->dim);
    out->qualities[i] = record->flags & SONA_HAS_QUALITY ? record->quality : __builtin_nanf("");
    out->versions[i] = record->flags & SONA_HAS_VERSION ? record->policy_version : -1;
    if (record->step_count > 0)
        encode_steps(e, record);
    e->n++;
}

static void encode_feedback(encoder *e, const sona_record *record)
{
    uint8_t *p = e->feedback;
    e->out->feedback_rows[e->m] = p - e->out->feedback;
    memcpy(e->out->feedback_ids + 16 * e->m++, record->id, 16);
    p = put16(p, FEEDBACK_COLUMNS);
    p = put_int4(p, e->space);
    p = put_int8(p, e->batch);
    p = put_bytes(p, record->id, 16);
    const int64_t later = record->flags & SONA_CLOCK_GUESSED ? e->correction : 0;
    p = put_int8(p, record->sequence + (record->flags & SONA_SEQUENCE_GIVEN ? 0 : later));
    p = put_int8(p, record->recorded_at + later - POSTGRES_EPOCH_US);
    p = record->flags & SONA_HAS_QUALITY ? put_real(p, record->quality) : put_null(p);
    p = put_text(p, last_item(record, SONA_SOURCE));
    p = put_text(p, last_item(record, SONA_CORRECTION));
    e->feedback = record->flags & SONA_HAS_COST ? put_real(p, record->cost) : put_null(p);
}

static uint8_t *begin_stream(uint8_t *p)
{
    memcpy(p, HEADER, sizeof HEADER);
    return p + sizeof HEADER;
}

void sona_encode(const sona_kernels *kernels, const sona_record *const *records, size_t n, size_t dim, int32_t space,
                 int64_t batch, int64_t correction, const sona_rows *out)
{
    encoder e = {.kernels = kernels, .out = out, .dim = dim, .space = space, .batch = batch, .correction = correction};
    e.trajectory = begin_stream(out->trajectories);
    e.step = begin_stream(out->steps);
    e.feedback = begin_stream(out->feedback);
    for (size_t i = 0; i < n; i++) {
        if (i + 2 < n) /* the next header; the hardware follows the rest of a record */
            __builtin_prefetch(records[i + 2]);
        if (records[i]->kind == SONA_TRAJECTORY)
            encode_trajectory(&e, records[i]);
        else
            encode_feedback(&e, records[i]);
    }
    out->trajectory_rows[e.n] = e.trajectory - out->trajectories;
    out->step_rows[e.n] = e.step - out->steps;
    out->feedback_rows[e.m] = e.feedback - out->feedback;
    memcpy(e.trajectory, TRAILER, sizeof TRAILER);
    memcpy(e.step, TRAILER, sizeof TRAILER);
    memcpy(e.feedback, TRAILER, sizeof TRAILER);
}

int sona_copy_checked(uint8_t *to, const sona_f32 *from, size_t n)
{
    int32_t above = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, from + i, 4);
        above |= (bits & 0x7fffffff) > 0x477fe000; /* 65504.0f; infinity and NaN lie above it too */
        memcpy(to + 4 * i, &bits, 4);
    }
    return !above;
}

/* Near 0 half precision goes in steps of 2^-24: rounding moves a vector of n values by up to sqrt(n) 2^-25, which turns
 * one of length l by sqrt(n) 2^-25 / l. From l = sqrt(n) 2^-14 on that is below 2^-11, the rounding of larger values; a
 * vector with one value as large as that is long enough, and a unit vector of at most 2^14 values has one. */
int sona_keep_direction(float *values, size_t n)
{
    const float enough = sqrtf((float)n) * 0x1p-14f;
    float largest = 0.0f;
    for (size_t i = 0; i < n; i++) {
        const float size = fabsf(values[i]);
        if (size >= enough)
            return 1;
        largest = size > largest ? size : largest;
    }
    if (largest == 0.0f)
        return 0;
    int exponent;
    frexpf(largest, &exponent);
    for (size_t i = 0; i < n; i++)
        values[i] = ldexpf(values[i], -exponent);
    return 1;
}
