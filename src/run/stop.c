/* See stop.h. */
#include "stop.h"

#include <errno.h>
#include <unistd.h>

volatile sig_atomic_t stop_signal;

static void note_signal(int number) {
    static const char text[] = "\ntrain: stopping after this step; again to stop without saving\n";
    const int cause = errno, skip = !isatty(STDERR_FILENO); /* the newline leaves a progress line */
    stop_signal = number;
    signal(number, SIG_DFL);
    if (write(STDERR_FILENO, text + skip, sizeof text - 1 - (size_t)skip) < 0) {} /* there is nobody to tell */
    errno = cause;
}

void signals_take(void) {
    signal(SIGINT, note_signal);
    signal(SIGTERM, note_signal);
    if (signal(SIGHUP, note_signal) == SIG_IGN) signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}
