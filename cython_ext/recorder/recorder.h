/* Memory layout of a trajectory or feedback, from its first call until it is encoded for Postgres.
 *
 * One record is one block: a frame (length and checksum for a spool file), a header, the embedding, then items in order
 * of arrival. Ownership of a block moves: the handle fills it, the ring queues its address, the encoder reads it, and it
 * is reused. Nothing is copied twice, and while the queue is drained the same few blocks stay in the processor's cache.
 */
#ifndef SONA_RECORDER_H
#define SONA_RECORDER_H

#include "sona_kernels.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SONA_TRAJECTORY = 1, SONA_FEEDBACK = 2 };

enum { /* header flags */
    SONA_HAS_QUALITY = 1,
    SONA_HAS_VERSION = 2,
    SONA_HAS_CANDIDATES = 4,
    SONA_HAS_PROPENSITY = 8,
    SONA_SEQUENCE_GIVEN = 16, /* by the caller: the same fact may come twice */
    SONA_HAS_COST = 32, /* of a trajectory: the estimate of its decision; of a feedback: the real cost */
    SONA_HAS_PAID = 64, /* of a trajectory */
    SONA_CLOCK_GUESSED = 128 /* of a feedback, recorded before the database had told its time */
};

enum { SONA_STEP = 1, SONA_ROUTE, SONA_CONTEXT, SONA_QUERY, SONA_SOURCE, SONA_CORRECTION, SONA_FEATURES, SONA_PARAMETERS };

enum { SONA_MAX_STEPS = 32767, SONA_MAX_VECTOR = 16000 };

#define SONA_FRAME_CHECK 0x534f4e41u

typedef struct {
    uint32_t length; /* of the record after the frame */
    uint32_t check;  /* length ^ SONA_FRAME_CHECK: distinguishes a corrupt length from a torn record */
    uint32_t crc;    /* CRC-32C of the record after the frame */
    uint32_t unused;
} sona_frame;

typedef struct {
    uint8_t id[16];
    uint32_t size; /* header, embedding and items, in bytes: a multiple of 8 */
    uint8_t kind, flags;
    uint16_t step_count;
    uint32_t dim;
    uint32_t floats; /* in all steps */
    uint32_t texts;  /* bytes of all texts */
    uint32_t contexts;
    uint32_t full_steps; /* steps whose activations are as long as the embedding */
    int32_t latency_us; /* -1: unknown */
    float quality, propensity, cost;
    uint32_t features; /* of the query, given to a decision: floats in one item */
    int64_t policy_version, candidate_set;
    union {
        int64_t sequence; /* of a feedback */
        double paid;      /* of a trajectory: its real cost */
    };
    int64_t recorded_at; /* of a feedback; microseconds since 1970 */
} sona_record;

typedef struct {
    uint32_t kind, size; /* bytes that follow, before the padding to 8 */
} sona_item;

typedef struct {
    uint32_t offset_us;
    float reward;
    uint32_t activations, attention; /* lengths; 0: not given */
} sona_step; /* followed by the floats of both */

typedef struct sona_block {
    struct sona_block *next;
    size_t capacity; /* of frame, header and the rest */
    sona_frame frame;
    sona_record record;
} sona_block;

#define SONA_BEFORE_FRAME offsetof(sona_block, frame)

static inline size_t sona_padded(size_t bytes)
{
    return (bytes + 7) & ~(size_t)7;
}

static inline uint8_t *sona_record_at(sona_record *record, size_t offset)
{
    return (uint8_t *)record + offset;
}

/* ring.c ---------------------------------------------------------------------------------------------------- */

enum { SONA_SEALED = -1 }; /* nothing is accepted any more */

typedef struct sona_ring sona_ring;

sona_ring *sona_ring_new(size_t capacity, size_t bytes);
void sona_ring_free(sona_ring *ring);

/* Producers: any thread. */
sona_block *sona_block_take(sona_ring *ring, size_t wanted); /* NULL: no memory */
void sona_block_give(sona_ring *ring, sona_block *block);
int sona_block_reserve(sona_block **block, size_t more); /* room for `more` bytes behind record.size; -1: no memory */
void sona_block_free(sona_block *block); /* of a forked parent: its ring is not ours to give back to */
/* 0: full; 1: queued; 2: queued, and half of the ring is waiting now; SONA_SEALED. Unless queued, the block stays the
 * caller's. */
int sona_ring_push(sona_ring *ring, sona_block *block);
void sona_ring_seal(sona_ring *ring); /* from now on nothing is queued: sona_ring_pushed is final */

/* The consumer: one thread at a time. sona_ring_begin says whether the caller is the only one. */
int sona_ring_begin(sona_ring *ring);
void sona_ring_end(sona_ring *ring);
size_t sona_ring_peek(sona_ring *ring, sona_block **out, size_t rows, size_t bytes); /* the oldest ones; they stay */
void sona_ring_release(sona_ring *ring, sona_block **blocks, size_t n);              /* done with those n */
size_t sona_ring_trim(sona_ring *ring, size_t keep); /* free all but `keep` bytes of unused blocks; returns the bytes */

uint64_t sona_ring_pushed(const sona_ring *ring);  /* records accepted since the beginning */
uint64_t sona_ring_taken(const sona_ring *ring);   /* of those, how many the consumer has */
uint64_t sona_ring_dropped(const sona_ring *ring); /* records refused because the ring was full */
void sona_ring_count_drop(sona_ring *ring);
uint64_t sona_ring_abandoned(const sona_ring *ring); /* trajectories that were begun and never ended */
void sona_ring_count_abandoned(sona_ring *ring);

/* clock.c --------------------------------------------------------------------------------------------------- */

int64_t sona_monotonic_ns(void);
int64_t sona_wall_us(void);          /* since 1970, by this machine's clock as it is set */
#define SONA_UNMEASURED INT64_MIN /* instead of the database's time from the monotonic clock */
/* `now` from sona_monotonic_ns; `since_1970`: microseconds from there to the database's time, or SONA_UNMEASURED for
 * this machine's clock. -1: the system gives no random bytes. */
int sona_uuid7(int64_t now, int64_t since_1970, uint8_t *id);
void sona_watch_forks(void);         /* before the first fork; more often is as good */
unsigned sona_fork_generation(void); /* changes in a forked child */

/* encode.c -------------------------------------------------------------------------------------------------- */

typedef struct {
    size_t trajectories, steps, feedback, full_steps;                  /* rows */
    size_t trajectory_bytes, step_bytes, feedback_bytes;               /* upper bounds, with COPY's header and trailer */
    int sequence_given;                                                /* by the caller of some feedback */
    int judged;                                                        /* some feedback, or an answer with a quality */
} sona_sizes;

typedef struct {
    uint8_t *trajectories, *steps, *feedback; /* OUT: COPY streams */
    int64_t *trajectory_rows, *step_rows;     /* OUT (n + 1): where the rows of each trajectory begin in them */
    int64_t *feedback_rows;                   /* OUT (m + 1) */
    int64_t *routes;                          /* OUT (n, 2): offset and length of the route; length -1: none */
    uint8_t *ids, *feedback_ids;              /* OUT (n, 16), (m, 16) */
    uint8_t *first_id, *last_id;              /* OUT (16) each: the smallest and the largest of ids */
    float *qualities, *step_rewards;          /* OUT (n), (s) */
    float *embeddings, *step_activations;     /* OUT (n, dim), (k, dim), or both NULL */
    int64_t *versions;                        /* OUT (n): -1: none */
    int32_t *step_trajectory, *activation_step; /* OUT (s), (k) */
} sona_rows;

void sona_measure(const sona_record *const *records, size_t n, size_t dim, sona_sizes *sizes);
/* `correction`: microseconds to add to times of SONA_CLOCK_GUESSED. */
void sona_encode(const sona_kernels *kernels, const sona_record *const *records, size_t n, size_t dim, int32_t space,
                 int64_t batch, int64_t correction, const sona_rows *out);

/* Copies and says whether every value is finite and at most 65504, the largest that half precision holds. */
int sona_copy_checked(uint8_t *to, const sona_f32 *from, size_t n);

/* Scales a vector by a power of two where half precision would turn it, so that its direction is stored. Returns 0 if it
 * has none: all values are 0. */
int sona_keep_direction(float *values, size_t n);

/* spool.c --------------------------------------------------------------------------------------------------- */

enum { SONA_FRAME_OK = 0, SONA_FRAME_MORE = 1, SONA_FRAME_BAD = 2 };

/* Reads the frame at `bytes`: OK with the record, MORE if it is not whole yet, BAD if it cannot be one. */
int sona_frame_read(const sona_kernels *kernels, const uint8_t *bytes, size_t n, size_t dim,
                    const sona_record **record, size_t *used);
void sona_frame_seal(const sona_kernels *kernels, sona_block *block);

/* The append side: segments `folder`/00000001 and so on, each made new. Safe from many threads; the lock is never held
 * while Python runs, so a signal handler of Python meets it free. */
typedef struct sona_spool sona_spool;

typedef struct {
    int64_t segment; /* how many there have been */
    int64_t size;    /* bytes of the current one that are whole */
    uint64_t appended; /* records, over all segments */
} sona_spool_position;

sona_spool *sona_spool_new(const char *folder, int64_t segment_bytes); /* NULL: no memory */
void sona_spool_free(sona_spool *spool);
/* 0: appended; SONA_SEALED; or errno, and nothing of it is in the file. */
int sona_spool_append(sona_spool *spool, const sona_kernels *kernels, sona_block *block);
void sona_spool_seal(sona_spool *spool);   /* refuses further records: the position is final */
void sona_spool_let_go(sona_spool *spool); /* in a forked child: closes its copy of the descriptor */
sona_spool_position sona_spool_at(sona_spool *spool);
/* End position of a full segment; 0: it is the current one. Drops the positions of segments before `segment`. */
int sona_spool_ended(sona_spool *spool, int64_t segment, sona_spool_position *end);

#endif
