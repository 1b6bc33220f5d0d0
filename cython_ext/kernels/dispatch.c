/* Chooses one table of kernels at import: the best that this CPU runs, or the one SONA_PG_ISA asks for.
 *
 * The environment is read here and not in config.py because the choice precedes any Python code of ours: this is
 * the one documented exception to that rule.
 */
#include "sona_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const sona_kernels *const ALL[] = {&sona_avx512, &sona_avx2, &sona_neon, &sona_scalar}; /* best first */
enum { COUNT = sizeof ALL / sizeof ALL[0] };

const sona_kernels *sona_active = &sona_scalar;

const char *sona_forced_isa(void)
{
    return getenv("SONA_PG_ISA");
}

#if defined(__x86_64__)
/* Clang before 18 knows no "f16c" in __builtin_cpu_supports. */
static int has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

static int cpu_runs(const sona_kernels *table)
{
    if (table->isa == NULL)
        return 0;
#if defined(__x86_64__)
    if (table == &sona_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("sse4.2")
               && has_f16c();
    if (table == &sona_avx512)
        return cpu_runs(&sona_avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
               && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
               && __builtin_cpu_supports("avx512vnni");
#endif
    return 1; /* scalar anywhere; NEON is part of every AArch64 */
}

const sona_kernels *sona_usable(int i)
{
    for (int t = 0; t < COUNT; t++)
        if (cpu_runs(ALL[t]) && i-- == 0)
            return ALL[t];
    return NULL;
}

int sona_select(const char *name, char *message, size_t size)
{
    if (name == NULL || *name == '\0') {
        sona_active = sona_usable(0);
        return 0;
    }
    char offers[64] = "";
    const sona_kernels *table;
    for (int i = 0; (table = sona_usable(i)) != NULL; i++) {
        if (strcmp(table->isa, name) == 0) {
            sona_active = table;
            return 0;
        }
        snprintf(offers + strlen(offers), sizeof offers - strlen(offers), "%s%s", i ? ", " : "", table->isa);
    }
    snprintf(message, size,
             "SONA_PG_ISA is '%.40s': tried avx512, avx2, neon, scalar; this CPU and build offer %s; "
             "set it to one of those, or unset it for the best",
             name, offers);
    return -1;
}
