/* Time, and the ids made from it. */
#define _DEFAULT_SOURCE /* POSIX beside -std=c11 */
#include "recorder.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

enum { RESYNC_NS = 20 * 1000 * 1000 };

/* Ids of a process grow, so a clock that is set back by less than this is waited for; by more, it was wrong before (a
 * device that booted in another year), and ids must not keep its time until the right one catches up. */
static const uint64_t SET_BACK = (uint64_t)10000 << 12; /* 10 s, in ticks */

static atomic_flag lock = ATOMIC_FLAG_INIT;
static int64_t synced = INT64_MIN / 2, offset; /* wall clock minus monotonic clock, and when it was read */
static uint64_t last_tick, random_state[2];
static int seeded;
static atomic_uint generation;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t sona_monotonic_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t sona_wall_us(void)
{
    return read_clock(CLOCK_REALTIME) / 1000;
}

/* Two processes with one random state would make the same ids. */
static void in_child(void)
{
    seeded = 0;
    atomic_flag_clear(&lock);
    atomic_fetch_add(&generation, 1);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

void sona_watch_forks(void)
{
    pthread_once(&once, watch_forks);
}

unsigned sona_fork_generation(void)
{
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

/* xoroshiro128+ (Blackman and Vigna 2018) */
static uint64_t next_random(void)
{
    const uint64_t a = random_state[0], b = random_state[1] ^ a, sum = a + random_state[1];
    random_state[0] = (a << 24 | a >> 40) ^ b ^ b << 16;
    random_state[1] = b << 37 | b >> 27;
    return sum;
}

/* RFC 9562, 6.2, method 3: 48 bits of milliseconds, 12 bits of their fraction; a tick that is not later than the
 * last one becomes the last one plus 1, so ids of one process grow, unless its clock is set back by SET_BACK.
 * Uniqueness rests on their 62 random bits alone, not on the clock, and survives forks and seeded applications. */
int sona_uuid7(int64_t now, int64_t since_1970, uint8_t *id)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        sched_yield();
    if (!seeded) {
        sona_watch_forks();
        if (getentropy(random_state, sizeof random_state) != 0) {
            atomic_flag_clear(&lock);
            return -1;
        }
        random_state[0] |= 1; /* the all-zero state is the one that never moves */
        seeded = 1;
    }
    if (since_1970 != SONA_UNMEASURED) {
        now += since_1970 * 1000;
    } else {
        if (now - synced > RESYNC_NS) {
            offset = read_clock(CLOCK_REALTIME) - now;
            synced = now;
        }
        now += offset;
    }
    const uint64_t wall = (uint64_t)now, ms = wall / 1000000;
    uint64_t tick = ms << 12 | ((wall - ms * 1000000) << 12) / 1000000;
    if (tick <= last_tick && last_tick - tick < SET_BACK)
        tick = last_tick + 1;
    last_tick = tick;
    const uint64_t random = next_random();
    atomic_flag_clear_explicit(&lock, memory_order_release);

    const uint64_t high = (tick & ~(uint64_t)0xfff) << 4 | 0x7000 | (tick & 0xfff);
    const uint64_t low = (random >> 2) | (uint64_t)1 << 63;
    for (int i = 0; i < 8; i++) {
        id[i] = (uint8_t)(high >> (56 - 8 * i));
        id[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    return 0;
}
