/* A bounded queue of blocks, many producers and one consumer, and the store of blocks that are free.
 *
 * The ring holds addresses: `capacity` of them are reserved at the start, blocks are made when first needed and used
 * again, newest first. The bound on bytes counts the blocks that wait. Producers take a spinlock, for a few
 * instructions. The consumer takes it only to give memory back from a ring that is idle: it moves `head` alone and hands
 * blocks back through a list of its own that producers pick up whole.
 */
#define _DEFAULT_SOURCE /* mmap beside -std=c11 */
#include "recorder.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <malloc.h>
static atomic_size_t freed_lately; /* bytes freed by the rings of this process since the last malloc_trim */
#endif

enum { LINE = 64, ALIGNED_SIZE = 256, FIRST_SIZE = 1024, WORTH_A_TRIM = 8 << 20 };

struct sona_ring {
    /* set once */
    size_t capacity, max_bytes;
    sona_block **slots;
    /* producers */
    _Alignas(LINE) atomic_flag lock;
    sona_block *free;
    size_t usual; /* size of a block that fits the records of late */
    int sealed;
    atomic_ullong tail, dropped, abandoned;
    /* the consumer */
    _Alignas(LINE) atomic_ullong head;
    atomic_flag consuming;
    /* both */
    _Alignas(LINE) atomic_size_t queued_bytes;
    atomic_size_t free_bytes;
    _Atomic(sona_block *) returned;
};

static void acquire(sona_ring *ring)
{
    while (atomic_flag_test_and_set_explicit(&ring->lock, memory_order_acquire))
        sched_yield();
}

static void release(sona_ring *ring)
{
    atomic_flag_clear_explicit(&ring->lock, memory_order_release);
}

sona_ring *sona_ring_new(size_t capacity, size_t bytes)
{
    if (capacity > SIZE_MAX / sizeof(sona_block *))
        return NULL;
    sona_ring *ring = aligned_alloc(LINE, (sizeof *ring + LINE - 1) / LINE * LINE);
    if (ring == NULL)
        return NULL;
    memset(ring, 0, sizeof *ring);
    atomic_flag_clear(&ring->lock);
    atomic_flag_clear(&ring->consuming);
    ring->capacity = capacity;
    ring->max_bytes = bytes;
    ring->usual = FIRST_SIZE;
    /* Untouched pages take no memory: most rings of a process with many spaces are hardly used. */
    ring->slots = mmap(NULL, capacity * sizeof *ring->slots, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring->slots == MAP_FAILED) {
        free(ring);
        return NULL;
    }
    return ring;
}

static void free_list(sona_block *block)
{
    while (block != NULL) {
        sona_block *next = block->next;
        free(block);
        block = next;
    }
}

void sona_ring_free(sona_ring *ring)
{
    if (ring == NULL)
        return;
    for (uint64_t i = atomic_load(&ring->head); i != atomic_load(&ring->tail); i++)
        free(ring->slots[i % ring->capacity]);
    free_list(ring->free);
    free_list(atomic_load(&ring->returned));
    munmap(ring->slots, ring->capacity * sizeof *ring->slots);
    free(ring);
}

/* -- blocks ------------------------------------------------------------------------------------------------- */

sona_block *sona_block_take(sona_ring *ring, size_t wanted)
{
    acquire(ring);
    sona_block *block = ring->free;
    if (block == NULL)
        block = atomic_exchange_explicit(&ring->returned, NULL, memory_order_acquire);
    if (block != NULL)
        ring->free = block->next;
    size_t size = ring->usual;
    release(ring);
    if (block != NULL) {
        atomic_fetch_sub_explicit(&ring->free_bytes, block->capacity, memory_order_relaxed);
        if (block->capacity >= wanted)
            return block;
        free(block);
    }
    if (size < wanted)
        size = wanted;
    size = (size + ALIGNED_SIZE - 1) / ALIGNED_SIZE * ALIGNED_SIZE;
    block = malloc(SONA_BEFORE_FRAME + size);
    if (block != NULL)
        block->capacity = size;
    return block;
}

/* Blocks that wait to be used again may take as much memory as a quarter of those that wait to be written. */
static int keeps(sona_ring *ring, const sona_block *block)
{
    return atomic_load_explicit(&ring->free_bytes, memory_order_relaxed) + block->capacity <= ring->max_bytes / 4;
}

void sona_block_give(sona_ring *ring, sona_block *block)
{
    if (!keeps(ring, block)) {
        free(block);
        return;
    }
    atomic_fetch_add_explicit(&ring->free_bytes, block->capacity, memory_order_relaxed);
    acquire(ring);
    block->next = ring->free;
    ring->free = block;
    release(ring);
}

size_t sona_ring_trim(sona_ring *ring, size_t keep)
{
    sona_block *lists[2];
    size_t kept = 0, freed = 0;
    acquire(ring);
    lists[0] = ring->free;
    ring->free = NULL;
    const uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail == atomic_load_explicit(&ring->head, memory_order_acquire))
        (void)madvise(ring->slots, ring->capacity * sizeof *ring->slots, MADV_DONTNEED); /* it only saves memory */
    release(ring);
    lists[1] = atomic_exchange_explicit(&ring->returned, NULL, memory_order_acquire);
    for (int i = 0; i < 2; i++)
        for (sona_block *block = lists[i], *next; block != NULL; block = next) {
            next = block->next;
            const size_t bytes = block->capacity;
            atomic_fetch_sub_explicit(&ring->free_bytes, bytes, memory_order_relaxed);
            if (kept + bytes <= keep) {
                sona_block_give(ring, block);
                kept += bytes;
            } else {
                free(block);
                freed += bytes;
            }
        }
#ifdef __GLIBC__
    if (atomic_fetch_add(&freed_lately, freed) + freed >= WORTH_A_TRIM) {
        atomic_store(&freed_lately, 0);
        malloc_trim(0); /* blocks in use lie between those that were freed */
    }
#endif
    return freed;
}

void sona_block_free(sona_block *block)
{
    free(block);
}

int sona_block_reserve(sona_block **block, size_t more)
{
    const size_t needed = sizeof(sona_frame) + (*block)->record.size + more;
    if (needed <= (*block)->capacity)
        return 0;
    const size_t twice = 2 * (*block)->capacity, capacity = needed > twice ? needed : twice;
    sona_block *grown = realloc(*block, SONA_BEFORE_FRAME + capacity);
    if (grown == NULL)
        return -1;
    grown->capacity = capacity;
    *block = grown;
    return 0;
}

/* -- the queue ---------------------------------------------------------------------------------------------- */

int sona_ring_push(sona_ring *ring, sona_block *block)
{
    const size_t used = sizeof(sona_frame) + block->record.size, bytes = block->capacity;
    acquire(ring);
    if (ring->sealed) {
        release(ring);
        return SONA_SEALED;
    }
    const uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    const uint64_t waiting = tail - atomic_load_explicit(&ring->head, memory_order_acquire);
    const size_t queued = atomic_load_explicit(&ring->queued_bytes, memory_order_relaxed);
    if (waiting >= ring->capacity || queued + bytes > ring->max_bytes) {
        release(ring);
        return 0;
    }
    /* Sizes vary: follow a larger one at once, a smaller one slowly. */
    ring->usual = used >= ring->usual ? used : ring->usual - (ring->usual - used) / 64;
    ring->slots[tail % ring->capacity] = block;
    atomic_fetch_add_explicit(&ring->queued_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    release(ring);
    const size_t half = ring->max_bytes / 2;
    return waiting + 1 == (ring->capacity + 1) / 2 || (queued < half && queued + bytes >= half) ? 2 : 1;
}

void sona_ring_seal(sona_ring *ring)
{
    acquire(ring);
    ring->sealed = 1;
    release(ring);
}

int sona_ring_begin(sona_ring *ring)
{
    return !atomic_flag_test_and_set_explicit(&ring->consuming, memory_order_acquire);
}

void sona_ring_end(sona_ring *ring)
{
    atomic_flag_clear_explicit(&ring->consuming, memory_order_release);
}

size_t sona_ring_peek(sona_ring *ring, sona_block **out, size_t rows, size_t bytes)
{
    const uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    const uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    size_t n = 0, sum = 0;
    while (n < rows && head + n != tail) {
        sona_block *block = ring->slots[(head + n) % ring->capacity];
        if (n > 0 && sum + block->capacity > bytes)
            break;
        sum += block->capacity;
        out[n++] = block;
    }
    return n;
}

void sona_ring_release(sona_ring *ring, sona_block **blocks, size_t n)
{
    sona_block *first = NULL, *last = NULL;
    size_t bytes = 0;
    atomic_fetch_add_explicit(&ring->head, n, memory_order_release);
    for (size_t i = 0; i < n; i++) {
        sona_block *block = blocks[i];
        bytes += block->capacity;
        if (!keeps(ring, block)) {
            free(block);
            continue;
        }
        atomic_fetch_add_explicit(&ring->free_bytes, block->capacity, memory_order_relaxed);
        if (last == NULL)
            last = block;
        block->next = first;
        first = block;
    }
    atomic_fetch_sub_explicit(&ring->queued_bytes, bytes, memory_order_relaxed);
    if (first == NULL)
        return;
    /* Producers only ever take the whole list, so a plain compare-and-swap meets no ABA. */
    sona_block *head = atomic_load_explicit(&ring->returned, memory_order_relaxed);
    do {
        last->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&ring->returned, &head, first, memory_order_release,
                                                    memory_order_relaxed));
}

uint64_t sona_ring_pushed(const sona_ring *ring)
{
    return atomic_load_explicit(&ring->tail, memory_order_acquire);
}

uint64_t sona_ring_taken(const sona_ring *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_acquire);
}

uint64_t sona_ring_dropped(const sona_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}

void sona_ring_count_drop(sona_ring *ring)
{
    atomic_fetch_add_explicit(&ring->dropped, 1, memory_order_relaxed);
}

uint64_t sona_ring_abandoned(const sona_ring *ring)
{
    return atomic_load_explicit(&ring->abandoned, memory_order_relaxed);
}

void sona_ring_count_abandoned(sona_ring *ring)
{
    atomic_fetch_add_explicit(&ring->abandoned, 1, memory_order_relaxed);
}
