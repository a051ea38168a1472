/* What PREFIX/bin/train and sample are in a package that has to run on every x86-64: it starts the program of its name
 * that was compiled for the widest vectors this processor has, PREFIX/libexec/mhmoe/LEVEL/NAME.
 *
 * A program by itself, and not a part of those: an OpenMP library that is told to bind threads to processors binds the
 * first one before main, and what that one starts would be bound to a single processor. */
#include <cpuid.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of x86-64-v3 what __builtin_cpu_supports does not know by name in every compiler. */
static bool has_small_instructions(void) {
    const unsigned movbe = 1u << 22, f16c = 1u << 29, lzcnt = 1u << 5;
    unsigned a, b, first, more, d;
    return __get_cpuid(1, &a, &b, &first, &d) && __get_cpuid(0x80000001, &a, &b, &more, &d) && (first & movbe) &&
           (first & f16c) && (more & lzcnt);
}

static bool has_v3(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && has_small_instructions();
}

static bool has_v4(void) {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

int main(int argc, char **argv) {
    const char *const levels[] = {has_v4() ? "x86-64-v4" : NULL, has_v3() ? "x86-64-v3" : NULL, "x86-64"};
    char own[PATH_MAX] = "", path[2 * PATH_MAX];
    char *name = readlink("/proc/self/exe", own, sizeof own - 1) > 0 ? strrchr(own, '/') : NULL;
    if (name) *name++ = 0;
    char *bin = name ? strrchr(own, '/') : NULL; /* PREFIX/bin */
    if (bin) *bin = 0;
    for (size_t i = 0; bin && i < sizeof levels / sizeof *levels; i++) {
        if (!levels[i]) continue;
        snprintf(path, sizeof path, "%s/libexec/mhmoe/%s/%s", own, levels[i], name);
        execv(path, argv);
        if (errno != ENOENT) break;
    }
    fprintf(stderr, "%s: cannot start: %s; install it again\n", argc > 0 ? argv[0] : "launch", strerror(errno));
    return 126;
}
