/* An example of libmhmoe.h: how likely a model finds a text, and how it would go on.
 *
 *     cc -o score score.c $(pkg-config --cflags --libs mhmoe)
 *     ./score runs/my "It is a truth universally acknowledged"
 */
#include <libmhmoe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Prints a token of the answer; ends it where the text ends. */
static bool print_token(void *context, int32_t token) {
    const mhmoe *m = context;
    char bytes[256];
    const size_t size = mhmoe_detokenize(m, &token, 1, bytes, sizeof bytes);
    fwrite(bytes, 1, size < sizeof bytes ? size : sizeof bytes, stdout);
    return token != mhmoe_end_of_text(m);
}

int main(int argc, char **argv) {
    struct mhmoe_error err;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
        return MHMOE_USAGE;
    }
    mhmoe *m = mhmoe_load(argv[1], &err);
    if (!m) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return err.code;
    }
    const size_t n = mhmoe_tokenize(m, argv[2], strlen(argv[2]), NULL, 0);
    int32_t *tokens = malloc((n + 1) * sizeof *tokens);
    double *logprobs = malloc((n + 1) * sizeof *logprobs), sum = 0;
    mhmoe_tokenize(m, argv[2], strlen(argv[2]), tokens, n);
    if (!mhmoe_score(m, tokens, n, logprobs, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return err.code;
    }
    for (size_t i = 0; i < n; i++) {
        char bytes[256];
        size_t size = mhmoe_detokenize(m, &tokens[i], 1, bytes, sizeof bytes);
        printf("%9.4f  %.*s\n", logprobs[i], (int)size, bytes);
        sum += logprobs[i];
    }
    printf("log-likelihood %.4f\n%s", sum, argv[2]);
    const struct mhmoe_sampling how = {.tokens = 40, .temperature = 0.8, .top_p = 0.95, .seed = 1};
    if (!mhmoe_sample(m, tokens, n, &how, print_token, m, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return err.code;
    }
    printf("\n");
    free(tokens);
    free(logprobs);
    mhmoe_free(m);
    return 0;
}
