/* See match.h. */
#include "match.h"

#include <stdlib.h>

enum { GROUPS = 2 };

/* From a config file, or the one in a run's directory. It has the same block, if it does not say another. */
static bool baseline_read(struct config *baseline, const char *match, int block, const struct program_info *program,
                          struct error *err) {
    struct training options = {0};
    struct config config = {0};
    const struct option_group groups[GROUPS] = {{training_options, &options}, {model_options, &config}};
    char *file = string_format("--config=%s%s", match, directory_exists(match) ? "/config" : "");
    options_set_defaults(groups, GROUPS);
    config.block = block;
    const bool read = options_parse(groups, GROUPS, program, 2, (char *[]){"train", file, NULL}, NULL, err) > 0;
    const char *wrong = options.match ? "one with --match" : config.ffn == FFN_MHMOE ? "--ffn mhmoe" : NULL;
    *baseline = config;
    options_free(groups, GROUPS);
    free(file);
    if (!read || !wrong) return read;
    return error_set(err, EXIT_USAGE, "--match %s: not a baseline (got %s, want --ffn smoe or dense); name the run or "
                     "config file of one", match, wrong);
}

/* An option that --match sets may be given as well if it says the same. */
static bool given_check(const struct option_group groups[GROUPS], const bool *given, const char *name, int got,
                        int want, struct error *err) {
    if (got == want || !options_given(groups, GROUPS, given, name)) return true;
    return error_set(err, EXIT_USAGE, "--%s: --match sets it (got %d, parity takes %d); leave it out", name, got, want);
}

bool match_baseline(const struct option_group groups[2], const bool *given, const struct program_info *program,
                    layer_account *layer_of, struct error *err) {
    const struct training *o = groups[0].target;
    struct config *config = groups[1].target, baseline, matched = *config;
    if (o->resume)
        return error_set(err, EXIT_USAGE, "--match and --resume both given; a resumed run keeps its experts");
    if (!baseline_read(&baseline, o->match, matched.block, program, err) ||
        !parity_match(&matched, &baseline, layer_of, o->match, err) ||
        !given_check(groups, given, "experts", config->experts, matched.experts, err) ||
        !given_check(groups, given, "expert-hidden", config->expert_hidden, matched.expert_hidden, err))
        return false;
    *config = matched;
    parity_tell(&matched, &baseline, layer_of);
    return true;
}
