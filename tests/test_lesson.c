/* make lesson: every number that it prints, beside those of a pencil: fractions of 13 and 9, each a line of
 * docs/MHMOE.md. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include "command.h"

static int lesson_run(void **state) {
    (void)state;
    if (!workplace_enter()) return -1;
    run("lesson >lesson.txt; cat lesson.txt");
    return 0;
}

/* The numbers behind "    NAME ", across bars and the lines of a matrix, are these and no more. */
static void row_check(const char *name, const double *want, size_t n) {
    static char text[1 << 16];
    text_read("lesson.txt", text, sizeof text);
    char *label = string_format("\n    %-10s ", name), *at = strstr(text, label);
    if (!at) fail_msg("there is no row %s", name);
    at += strlen(label) - 1;
    for (size_t i = 0; i < n; i++) {
        char *end;
        at += strspn(at, " |\n");
        const double got = strtod(at, &end);
        if (end == at || fabs(got - want[i]) > 5.1e-4 * fabs(want[i])) /* four digits are printed */
            fail_msg("%s: number %zu (got %.20s, want %g)", name, i, at, want[i]);
        at = end;
    }
    at += strspn(at, " |");
    if (*at != '\n') fail_msg("%s: more than %zu numbers", name, n);
    free(label);
}
#define ROW(name, ...) row_check(name, (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / 8)

static void line_check(const char *line) {
    static char text[1 << 16];
    text_read("lesson.txt", text, sizeof text);
    if (!strstr(text, line)) fail_msg("'%s' is missing", line);
}

static void weights_are_shown(void **state) {
    (void)state;
    ROW("x", 1, 1, 0, 1);
    ROW("W_head", 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1);
    ROW("W_router", -1, 1, 0, 1, 1, 0);
    ROW("W1", 1, 0.5, 0, 1, 1, -1);
    ROW("W2", 1, 2, 1, 1, 2, 1);
    ROW("W_merge", 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1);
    ROW("dy", 1, 0, 0, 1);
}

/* exp of scores: 1/2, 2, 4 of the first sub-token, 4, 4, 1 of the second. */
static void forward_is_a_pencils(void **state) {
    (void)state;
    ROW("xh", 2, 1, 0, 2);
    ROW("p", 1 / 13., 4 / 13., 8 / 13., 4 / 9., 4 / 9., 1 / 9.);
    ROW("picks", 2, 1, 0, 1);
    ROW("gates", 8 / 13., 4 / 13., 4 / 9., 4 / 9.);
    ROW("W1_e xh_n", 1, 1, 2, 1);
    ROW("u", 1, 2, 1, 1, 4, 4, 2, 1);
    ROW("o", 20 / 13., 12 / 13., 20 / 9., 24 / 9.);
    ROW("y", 20 / 13. + 20 / 9., 12 / 13., 20 / 9., 12 / 13. + 24 / 9.);
    ROW("balance", 3 * ((1 / 13. + 4 / 9.) / 2 / 4 + (4 / 13. + 4 / 9.) / 2 / 2 + (8 / 13. + 1 / 9.) / 2 / 4));
}

static void picks_are_sorted_by_expert(void **state) {
    (void)state;
    line_check("        pick (n,k)      (0,0)  (0,1)  (1,0)  (1,1)");
    line_check("        expert picked     2      1      0      1  ");
    line_check("        slots[n,k]        3      1      0      2  ");
    line_check("        sources           1      0      1      0  ");
    line_check("        expert's rows   [ 0  ] [     1     ] [ 2  ]  offsets 0 1 3 4\n");
}

/* du is the gate in both numbers, since do is 1 in all; dA = 2 A dG, dG = du . W2. */
static void backward_of_experts_is_a_pencils(void **state) {
    (void)state;
    ROW("do", 1, 1, 1, 1);
    ROW("dW_merge", 20 / 13., 12 / 13., 20 / 9., 24 / 9., 0, 0, 0, 0, 0, 0, 0, 0, 20 / 13., 12 / 13., 20 / 9., 24 / 9.);
    ROW("du", 4 / 9., 4 / 9., 4 / 13., 4 / 13., 4 / 9., 4 / 9., 8 / 13., 8 / 13.);
    ROW("dg", 3, 2, 3, 8);
    ROW("dZ", 24 / 9., 12 / 9., 0, 16 / 13., 0, 32 / 9., 48 / 13., -48 / 13.);
    ROW("dW1", 0, 48 / 9., 32 / 13., 16 / 13. + 64 / 9., 96 / 13., 48 / 13.);
    ROW("dW2", 4 / 9., 4 / 9., 4 / 13. + 16 / 9., 4 / 13. + 16 / 9., 8 / 13., 8 / 13.);
}

static void backward_of_router_and_head_is_a_pencils(void **state) {
    (void)state;
    const double p[2][3] = {{1 / 13., 4 / 13., 8 / 13.}, {4 / 9., 4 / 9., 1 / 9.}};
    const double balance[3] = {0.01 * 3 / 2 / 4, 0.01 * 3 / 2 / 2, 0.01 * 3 / 2 / 4};
    const double dp[2][3] = {{balance[0], 2 + balance[1], 3 + balance[2]},
                             {3 + balance[0], 8 + balance[1], balance[2]}};
    double dr[2][3];
    for (int n = 0; n < 2; n++) {
        const double mean = p[n][0] * dp[n][0] + p[n][1] * dp[n][1] + p[n][2] * dp[n][2];
        for (int e = 0; e < 3; e++) dr[n][e] = p[n][e] * (dp[n][e] - mean);
    }
    ROW("dr", dr[0][0], dr[0][1], dr[0][2], dr[1][0], dr[1][1], dr[1][2]);
    ROW("dW_router", 2 * dr[0][0], dr[0][0] + 2 * dr[1][0], 2 * dr[0][1], dr[0][1] + 2 * dr[1][1], 2 * dr[0][2],
        dr[0][2] + 2 * dr[1][2]);
    const double ln2 = 0.69314718055994531, h[4] = {
        48 / 13. + ln2 * (dr[0][2] - dr[0][0]), 16 / 13. - 48 / 13. + ln2 * (dr[0][0] + dr[0][1]),
        24 / 9. + ln2 * (dr[1][2] - dr[1][0]), 12 / 9. + 32 / 9. + ln2 * (dr[1][0] + dr[1][1])};
    ROW("dxh", h[0], h[1], h[2], h[3]);
    ROW("dW_head", h[0], h[0], 0, h[0], h[1], h[1], 0, h[1], h[2], h[2], 0, h[2], h[3], h[3], 0, h[3]);
    ROW("dx", h[0], h[1] + h[3], h[2], h[0] + h[3]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_shown),
        cmocka_unit_test(forward_is_a_pencils),
        cmocka_unit_test(picks_are_sorted_by_expert),
        cmocka_unit_test(backward_of_experts_is_a_pencils),
        cmocka_unit_test(backward_of_router_and_head_is_a_pencils),
    };
    return cmocka_run_group_tests(tests, lesson_run, workplace_remove);
}
