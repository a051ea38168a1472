/* A process of a test's own. To be included after cmocka.h. */
#ifndef CHILD_H
#define CHILD_H

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* fork, in which a crash of the child ends it: cmocka's handlers would have it go on with the tests that follow, and
 * whoever waits for it wait for those. */
static inline pid_t child_of_test(void) {
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    fflush(stdout);
    const pid_t child = fork();
    assert_true(child >= 0);
    for (size_t i = 0; child == 0 && i < sizeof crashes / sizeof *crashes; i++) signal(crashes[i], SIG_DFL);
    return child;
}

#endif
