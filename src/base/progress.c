/* See progress.h. */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "util.h"

char *duration_format(double seconds) {
    const long long whole = llround(seconds), minutes = llround(seconds / 60);
    if (whole < 60) return string_format("%lld s", whole);
    if (whole < 3600) return string_format("%lld min %02lld s", whole / 60, whole % 60);
    return string_format("%lld h %02lld min", minutes / 60, minutes % 60);
}

char *count_format(double n) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    size_t u = 0;
    if (n < 9999.5) return string_format("%.0f", n);
    for (; u < 5 && n >= 999.5; u++) n /= 1000;
    return string_format("%.*f%s", n < 9.995 ? 2 : n < 99.95 ? 1 : 0, n, units[u]);
}

/* ---- Pace ---- */

static const double FORGET = 0.05;

void pace_step(struct pace *p, double seconds) {
    const double sum = p->mean * p->weight * (1 - FORGET) + seconds * FORGET;
    p->weight = p->weight * (1 - FORGET) + FORGET;
    p->mean = sum / p->weight;
    p->steps++;
}

void pace_other(struct pace *p, double seconds) { p->other += seconds; }

double pace_seconds(const struct pace *p, int64_t steps) {
    return p->steps ? (double)steps * (p->mean + p->other / (double)p->steps) : 0;
}

/* ---- A curve ---- */

/* When all cells are full, two become one. */
void spark_add(struct spark *s, double value) {
    if (s->per == 0) s->per = 1;
    if (s->n == SPARK_CELLS) {
        for (size_t i = 0; i < SPARK_CELLS / 2; i++) s->cells[i] = (s->cells[2 * i] + s->cells[2 * i + 1]) / 2;
        s->n /= 2;
        s->per *= 2;
    }
    double *cell = &s->cells[s->n];
    *cell = s->in ? *cell + (value - *cell) / (double)(s->in + 1) : value;
    if (++s->in < s->per) return;
    s->in = 0;
    s->n++;
}

char *spark_format(const struct spark *s, size_t most) {
    static const char *const levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const size_t all = s->n + (s->in > 0), first = all > most ? all - most : 0;
    char *text = string_format("%s", "");
    double low = INFINITY, high = -INFINITY;
    for (size_t i = first; i < all; i++) low = fmin(low, s->cells[i]), high = fmax(high, s->cells[i]);
    for (size_t i = first; i < all && all - first >= 2; i++)
        string_append(&text, "%s", levels[high > low ? (int)((s->cells[i] - low) / (high - low) * 7.999) : 0]);
    return text;
}

/* ---- The terminal ---- */

bool terminal_there(void) { return isatty(STDERR_FILENO); }

size_t terminal_columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

bool terminal_colours(void) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

void bar_show(const char *what, double done, double total, int *last) {
    enum { WIDTH = 30 };
    const double share = total > 0 ? fmin(done / total, 1) : 1;
    const int percent = (int)(100 * share), filled = (int)(WIDTH * share);
    if (percent == *last || !terminal_there()) return;
    *last = percent;
    fprintf(stderr, "\r\033[K%s [%.*s%*s] %d%%", what, filled, "==============================", WIDTH - filled, "",
            percent);
}

void bar_clear(void) {
    if (terminal_there()) fputs("\r\033[K", stderr);
}
