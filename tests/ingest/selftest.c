/* The recorder's C parts without Python, for sanitizers and valgrind: several threads record while one drains, and
 * frames of a spool are read cut short and with bits flipped.
 *
 * Streams and frames are allocations of exactly the size needed, so that a memory checker sees accesses outside.
 */
#define _DEFAULT_SOURCE /* mkdtemp beside -std=c11 */
#include "recorder.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRODUCERS = 4, RECORDS = 4000, DIM = 13, MOST = 64 };

static const sona_kernels *kernels;
static atomic_int failures, finished;

#define EXPECT(what) \
    do { \
        if (!(what)) { \
            printf("%s:%d: expected %s\n", __FILE__, __LINE__, #what); \
            failures++; \
        } \
    } while (0)

/* A trajectory of `steps` steps; its quality and its steps' rewards encode producer and number. */
static sona_block *make(sona_ring *ring, int who, int number, int steps)
{
    const size_t embedding = sona_padded(4 * DIM), step = sizeof(sona_step) + 4 * DIM;
    sona_block *block = sona_block_take(ring, sizeof(sona_frame) + sizeof(sona_record) + embedding);
    sona_record *record = &block->record;
    *record = (sona_record){.size = (uint32_t)(sizeof *record + embedding), .kind = SONA_TRAJECTORY, .dim = DIM,
                            .flags = SONA_HAS_QUALITY, .quality = (float)who, .latency_us = number};
    memset(record + 1, 0, embedding);
    EXPECT(sona_uuid7(sona_monotonic_ns(), SONA_UNMEASURED, record->id) == 0);
    for (int i = 0; i < steps; i++) {
        const size_t size = sizeof(sona_item) + sona_padded(step);
        EXPECT(sona_block_reserve(&block, size) == 0);
        record = &block->record;
        sona_item *item = (sona_item *)sona_record_at(record, record->size);
        memset(item, 0, size);
        *item = (sona_item){.kind = SONA_STEP, .size = (uint32_t)step};
        *(sona_step *)(item + 1) = (sona_step){.activations = DIM, .reward = (float)number};
        record->size += (uint32_t)size;
        record->step_count++;
        record->floats += DIM;
        record->full_steps++;
    }
    return block;
}

/* -- the ring ----------------------------------------------------------------------------------------------- */

typedef struct {
    sona_ring *ring;
    int who;
} producer;

static void *produce(void *argument)
{
    const producer *p = argument;
    for (int number = 0; number < RECORDS; number++) {
        sona_block *block = make(p->ring, p->who, number, number % 4);
        while (sona_ring_push(p->ring, block) == 0) {
            sona_ring_count_drop(p->ring);
            sched_yield();
        }
        if (number % 16 == 0) /* a handle that is dropped without ending */
            sona_block_give(p->ring, make(p->ring, p->who, number, number % 64));
    }
    finished++;
    return NULL;
}

static void check_encoded(const sona_record *const *records, size_t n)
{
    sona_sizes sizes;
    sona_measure(records, n, DIM, &sizes);
    EXPECT(sizes.trajectories == n);
    uint8_t first[16], last[16];
    const size_t s = sizes.steps;
    const sona_rows out = {
        .trajectories = malloc(sizes.trajectory_bytes), .steps = malloc(sizes.step_bytes),
        .feedback = malloc(sizes.feedback_bytes), .trajectory_rows = calloc(n + 1, 8), .step_rows = calloc(n + 1, 8),
        .feedback_rows = calloc(1, 8), .routes = calloc(2 * n, 8), .ids = calloc(n, 16), .first_id = first,
        .last_id = last, .qualities = calloc(n, 4), .versions = calloc(n, 8), .step_rewards = calloc(s + 1, 4),
        .step_trajectory = calloc(s + 1, 4), .activation_step = calloc(s + 1, 4), .embeddings = calloc(n * DIM, 4),
        .step_activations = calloc(s * DIM + 1, 4),
    };
    sona_encode(kernels, records, n, DIM, 1, 1, 0, &out);
    EXPECT((size_t)out.trajectory_rows[n] + 2 <= sizes.trajectory_bytes && (size_t)out.step_rows[n] + 2 <= sizes.step_bytes);
    void *made[] = {out.trajectories, out.steps, out.feedback, out.trajectory_rows, out.step_rows, out.feedback_rows,
                    out.routes, out.ids, out.qualities, out.versions, out.step_rewards, out.step_trajectory,
                    out.activation_step, out.embeddings, out.step_activations};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        free(made[i]);
}

static void check_ring(size_t capacity, size_t bytes)
{
    sona_ring *ring = sona_ring_new(capacity, bytes);
    pthread_t threads[PRODUCERS];
    producer producers[PRODUCERS];
    int next[PRODUCERS] = {0}, turn = 0;
    size_t seen = 0;
    finished = 0;
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){ring, i};
        pthread_create(&threads[i], NULL, produce, &producers[i]);
    }
    for (;;) {
        const int ended = finished == PRODUCERS;
        sona_block *blocks[MOST];
        const sona_record *records[MOST];
        EXPECT(sona_ring_begin(ring) && !sona_ring_begin(ring));
        const size_t n = sona_ring_peek(ring, blocks, MOST, bytes / 2);
        for (size_t i = 0; i < n; i++) {
            const int who = (int)blocks[i]->record.quality;
            EXPECT(blocks[i]->record.latency_us == next[who]++);
            records[i] = &blocks[i]->record;
        }
        if (n > 0)
            check_encoded(records, n);
        sona_ring_release(ring, blocks, n);
        if (turn++ % 8 == 0)
            sona_ring_trim(ring, bytes / 8);
        sona_ring_end(ring);
        seen += n;
        if (n == 0 && ended)
            break;
        if (n == 0)
            sched_yield();
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    EXPECT(seen == (size_t)PRODUCERS * RECORDS);
    EXPECT(sona_ring_pushed(ring) == seen && sona_ring_taken(ring) == seen);
    EXPECT(sona_ring_push(ring, make(ring, 0, 0, 0)) != 0); /* queued blocks are freed with the ring */
    sona_ring_free(ring);
}

/* -- the spool ---------------------------------------------------------------------------------------------- */

static int read_copy(const uint8_t *bytes, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);
    const sona_record *record;
    size_t used;
    memcpy(exact, bytes, n);
    const int state = sona_frame_read(kernels, exact, n, DIM, &record, &used);
    if (state == SONA_FRAME_OK) {
        EXPECT(used == n);
        if (record->kind == SONA_TRAJECTORY)
            check_encoded(&record, 1);
    }
    free(exact);
    return state;
}

static void check_frames(void)
{
    sona_ring *ring = sona_ring_new(4, 1 << 20);
    sona_block *block = make(ring, 1, 2, 3);
    sona_frame_seal(kernels, block);
    const size_t n = sizeof block->frame + block->frame.length;
    uint8_t *bytes = (uint8_t *)&block->frame;
    EXPECT(read_copy(bytes, n) == SONA_FRAME_OK);
    for (size_t cut = 0; cut < n; cut++)
        EXPECT(read_copy(bytes, cut) == SONA_FRAME_MORE);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        if (bit / 8 >= offsetof(sona_frame, unused) && bit / 8 < sizeof(sona_frame))
            continue;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        EXPECT(read_copy(bytes, n) == SONA_FRAME_BAD);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* Lengths that lie under a checksum that does not: as if written for another space, or by a mistake. */
    for (size_t at = 0; at + 4 <= block->record.size; at += 4) {
        uint32_t kept, huge = UINT32_MAX - 6;
        memcpy(&kept, (uint8_t *)&block->record + at, 4);
        if (at == offsetof(sona_record, size))
            continue;
        memcpy((uint8_t *)&block->record + at, &huge, 4);
        block->frame.crc = kernels->crc32c(0, (const uint8_t *)&block->record, (ptrdiff_t)block->frame.length);
        read_copy(bytes, n);
        memcpy((uint8_t *)&block->record + at, &kept, 4);
    }
    sona_block_give(ring, block);
    sona_ring_free(ring);
}

typedef struct {
    sona_spool *spool;
    sona_ring *ring;
    atomic_ullong *accepted;
} appender;

static void *append_until_sealed(void *argument)
{
    const appender *a = argument;
    for (int number = 0;; number++) {
        sona_block *block = make(a->ring, 1, number, number % 4);
        const int error = sona_spool_append(a->spool, kernels, block);
        sona_block_give(a->ring, block);
        if (error != 0) {
            EXPECT(error == SONA_SEALED);
            return NULL;
        }
        atomic_fetch_add(a->accepted, 1);
    }
}

/* Bytes of a segment that are whole frames, all of which they must be. */
static size_t check_segment(const char *folder, long long number, unsigned long long *found)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%08lld", folder, number);
    FILE *file = fopen(path, "rb");
    EXPECT(file != NULL);
    static uint8_t bytes[1 << 22];
    const size_t n = file == NULL ? 0 : fread(bytes, 1, sizeof bytes, file);
    size_t at = 0, used;
    const sona_record *record;
    while (at < n && sona_frame_read(kernels, bytes + at, n - at, DIM, &record, &used) == SONA_FRAME_OK) {
        at += used;
        ++*found;
    }
    EXPECT(at == n);
    if (file != NULL)
        fclose(file);
    remove(path);
    return n;
}

/* Threads append until the spool is sealed: the files have exactly the accepted records. */
static void check_spool(void)
{
    char folder[] = "/tmp/sona-selftest-XXXXXX";
    EXPECT(mkdtemp(folder) != NULL);
    sona_ring *ring = sona_ring_new(4, 1 << 20);
    sona_spool *spool = sona_spool_new(folder, 50000);
    atomic_ullong accepted = 0;
    appender a = {spool, ring, &accepted};
    pthread_t threads[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++)
        EXPECT(pthread_create(&threads[i], NULL, append_until_sealed, &a) == 0);
    while (sona_spool_at(spool).segment < 4)
        sched_yield();
    sona_spool_seal(spool);
    const sona_spool_position at = sona_spool_at(spool);
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    EXPECT(at.appended == accepted && sona_spool_at(spool).appended == accepted);
    unsigned long long found = 0;
    for (int64_t number = 1; number <= at.segment; number++) {
        sona_spool_position end = at;
        EXPECT(sona_spool_ended(spool, number, &end) == (number < at.segment));
        EXPECT(check_segment(folder, number, &found) == (size_t)end.size && found == end.appended);
    }
    sona_spool_free(spool);
    sona_ring_free(ring);
    remove(folder);
}

int main(void)
{
    for (int i = 0; (kernels = sona_usable(i)) != NULL; i++) {
        check_frames();
        check_spool();
        check_ring(7, 1 << 20);    /* full of records */
        check_ring(1000, 1 << 14); /* full of bytes */
        printf("recorder, %s: %d failures\n", kernels->isa, failures);
    }
    return failures != 0;
}
