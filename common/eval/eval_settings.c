/* The settings under `evaluate:`. */
#include "eval/eval_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const grids[] = {"signed", "narrow", NULL}; /* the first ones of fq_grid_names */

#define MIN_SCALE 0.1
#define MAX_SCALE 10.0

#define FIELD(name) offsetof(fq_eval_settings, name)
const fq_key fq_eval_keys[] = {
    {"every", FQ_TYPE_INT, FIELD(every), "5", 1, 1e9, NULL,
     "Rounds between evaluations; the last round is always evaluated."},
    {"weights", FQ_TYPE_INTS, FIELD(weights), "[32, 8, 6, 5, 4, 3, 2]", 1, 32, NULL,
     "Bit-widths of the weights, 1 to 8; 32 is float, which is always evaluated."},
    {"activations", FQ_TYPE_INTS, FIELD(activations), "[32]", 1, 32, NULL,
     "Bit-widths of the activations, 1 to 8 or 32; each is combined with each width of the "
     "weights."},
    {"pairs", FQ_TYPE_WORDS, FIELD(pairs), "[]", 0, 0, NULL,
     "More combinations, weights/activations: 4/8 is 4-bit weights with 8-bit activations."},
    {"ranges", FQ_TYPE_WORDS, FIELD(ranges), "[mse]", 0, 0, fq_range_names,
     "How the range of a weight tensor is found; each rule gives figures of its own. learned: the "
     "steps that qat, mqat or fedhq learned, at the widths they were trained at."},
    {"step_scales", FQ_TYPE_REALS, FIELD(step_scales), "[]", MIN_SCALE, MAX_SCALE, NULL,
     "With float activations, evaluate again with every step of the weights times this; the rule "
     "of such a figure reads mse*0.85."},
    {"power_of_two", FQ_TYPE_BOOL, FIELD(power_of_two), "false", 0, 0, NULL,
     "With float activations, evaluate again with every step of the weights rounded to the nearest "
     "power of two; the rule of such a figure reads mse~2^k."},
    {"granularity", FQ_TYPE_WORDS, FIELD(granularity), "[tensor]", 0, 0, fq_granularity_names,
     "What shares a scale: a whole weight tensor, or an output channel of it. With both, each rule "
     "gives figures for both, and those of the second one read mse/channel."},
    {"grid", FQ_TYPE_CHOICE, FIELD(grid), "signed", 0, 0, grids,
     "Codes of the weights: signed has all 2^b, narrow leaves out the lowest."},
    {"layers", FQ_TYPE_CHOICE, FIELD(layers), "all", 0, 0, fq_layer_policy_names,
     "Which layers are quantized; the first and the last can stay at 8 bits or float."},
    {"margin", FQ_TYPE_REAL, FIELD(margin), "0", 0, 1e6, NULL,
     "Added to the largest magnitude before the search of the mse rule, in units of the weights."},
    {"percentile", FQ_TYPE_REAL, FIELD(percentile), "0.01", 0, 49, NULL,
     "Tail that the percentile rule cuts at each end, in percent."},
    {"batch", FQ_TYPE_INT, FIELD(batch), "128", 1, 65536, NULL,
     "Test examples at a time; changes memory and speed, not the figures."},
    {"calibration_examples", FQ_TYPE_INT, FIELD(calibration_examples), "512", 1, 1000000, NULL,
     "Training examples from which the ranges of quantized activations are found."},
    {"calibration_clients", FQ_TYPE_INT, FIELD(calibration_clients), "16", 1, 10000, NULL,
     "Clients whose training examples may serve for calibration."},
    {"batch_norm_batches", FQ_TYPE_INT, FIELD(batch_norm_batches), "50", 0, 10000, NULL,
     "Batches of 64 calibration examples from which the moments of batch norm are taken anew for "
     "quantized weights; 0 keeps those of the model."},
    {.name = NULL},
};

static bool is_width(int64_t bits) {
    return (bits >= 1 && bits <= FQ_MAX_BITS) || bits == FQ_FLOAT_BITS;
}

static fq_status check_widths(const char *key, const fq_ints *widths) {
    if (widths->n == 0)
        return fq_fail(FQ_EINVAL, "evaluate.%s: is empty; expected at least one bit-width", key);
    for (size_t i = 0; i < widths->n; i++)
        if (!is_width(widths->v[i]))
            return fq_fail(FQ_EINVAL,
                           "evaluate.%s: %lld is not a bit-width; expected 1 to 8, or 32 for float",
                           key, (long long)widths->v[i]);
    return FQ_OK;
}

static fq_status parse_pair(const char *pair, int *weights, int *activations) {
    char *slash = NULL, *end = NULL;
    long  w = strtol(pair, &slash, 10), a = 0;
    bool  good = slash != pair && *slash == '/' && slash[1] >= '0' && slash[1] <= '9';
    if (good)
        a = strtol(slash + 1, &end, 10);
    if (!good || *end != '\0' || !is_width(w) || !is_width(a))
        return fq_fail(FQ_EINVAL,
                       "evaluate.pairs: \"%s\" is not a pair of bit-widths; expected "
                       "weights/activations, as 4/8",
                       pair);
    *weights = (int)w;
    *activations = (int)a;
    return FQ_OK;
}

static void list_changes(const fq_eval_settings *settings, fq_eval_wanted *out) {
    for (size_t i = 0; i < settings->step_scales.n; i++)
        out->changes[out->n_changes++] =
            (fq_step_change){FQ_STEP_SCALED, (float)settings->step_scales.v[i]};
    if (settings->power_of_two)
        out->changes[out->n_changes++] = (fq_step_change){.kind = FQ_STEP_POWER_OF_TWO};
}

static fq_status check_twice(const char *key, const fq_words *words) {
    for (size_t i = 0; i < words->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(words->v[i], words->v[k]) == 0)
                return fq_fail(FQ_EINVAL, "evaluate.%s: has \"%s\" twice", key, words->v[i]);
    return FQ_OK;
}

/* Every rule in every granularity, by rule; learned steps have the one granularity of training. */
static fq_status list_rules(const fq_eval_settings *settings, fq_eval_wanted *out) {
    FQ_TRY(check_twice("ranges", &settings->ranges));
    FQ_TRY(check_twice("granularity", &settings->granularity));
    if (settings->granularity.n == 0)
        return fq_fail(FQ_EINVAL,
                       "evaluate.granularity: is empty; expected tensor, channel or both");
    for (size_t r = 0; r < settings->ranges.n; r++) {
        const char          *name = settings->ranges.v[r];
        const fq_range_rule *rule = fq_range_find(name);
        if (rule == NULL)
            return fq_fail(FQ_EINVAL,
                           "evaluate.ranges: \"%s\" is not a rule for weights; "
                           "`fedq-sim list ranges` shows them",
                           name);
        for (size_t g = 0; g < (rule->learned ? 1 : settings->granularity.n); g++) {
            const char   *granularity = settings->granularity.v[g];
            fq_eval_rule *next = &out->rules[out->n_rules++];
            next->rule = rule;
            if (!fq_granularity_find(granularity, &next->granularity))
                return fq_fail(FQ_EINVAL,
                               "evaluate.granularity: \"%s\" is not allowed; expected tensor or "
                               "channel",
                               granularity);
            snprintf(next->name, sizeof next->name, "%s%s%s", rule->name, g == 0 ? "" : "/",
                     g == 0 ? "" : granularity);
        }
    }
    return FQ_OK;
}

fq_status fq_eval_wanted_read(const fq_eval_settings *settings, fq_eval_wanted *out) {
    *out = (fq_eval_wanted){0};
    FQ_TRY(check_widths("weights", &settings->weights));
    FQ_TRY(check_widths("activations", &settings->activations));
    out->pair[FQ_FLOAT_BITS][FQ_FLOAT_BITS] = true;
    for (size_t w = 0; w < settings->weights.n; w++)
        for (size_t a = 0; a < settings->activations.n; a++)
            out->pair[settings->weights.v[w]][settings->activations.v[a]] = true;
    for (size_t i = 0; i < settings->pairs.n; i++) {
        int w = 0, a = 0;
        FQ_TRY(parse_pair(settings->pairs.v[i], &w, &a));
        out->pair[w][a] = true;
    }
    FQ_TRY(list_rules(settings, out));
    list_changes(settings, out);
    for (int w = 1; w <= FQ_FLOAT_BITS; w++)
        for (int a = 1; a <= FQ_FLOAT_BITS; a++)
            if (out->pair[w][a]) {
                size_t steps = 1 + (a == FQ_FLOAT_BITS ? out->n_changes : 0);
                out->n += w == FQ_FLOAT_BITS ? 1 : out->n_rules * steps;
                out->quantized_weights |= w != FQ_FLOAT_BITS;
                out->quantized_activations |= a != FQ_FLOAT_BITS;
            }
    return FQ_OK;
}

/* Scales that print alike would be figures that nobody can tell apart. */
static fq_status check_scales(const fq_eval_settings *settings) {
    char texts[FQ_LIST_LENGTH][FQ_RULE_BYTES];
    for (size_t i = 0; i < settings->step_scales.n; i++) {
        double scale = settings->step_scales.v[i];
        if (!(scale >= MIN_SCALE && scale <= MAX_SCALE))
            return fq_fail(FQ_EINVAL,
                           "evaluate.step_scales: %g is not allowed; expected a number from %g to "
                           "%g",
                           scale, MIN_SCALE, MAX_SCALE);
        fq_rule_print("", (fq_step_change){FQ_STEP_SCALED, (float)scale}, texts[i]);
        for (size_t k = 0; k < i; k++)
            if (strcmp(texts[i], texts[k]) == 0)
                return fq_fail(FQ_EINVAL, "evaluate.step_scales: has %s twice", texts[i] + 1);
    }
    return FQ_OK;
}

fq_status fq_eval_settings_check(const fq_eval_settings *settings) {
    fq_eval_wanted wanted;
    FQ_TRY(fq_eval_wanted_read(settings, &wanted));
    FQ_TRY(check_scales(settings));
    if (wanted.quantized_weights && settings->ranges.n == 0)
        return fq_fail(
            FQ_EINVAL,
            "evaluate.ranges: is empty; expected at least one rule for quantized weights");
    if (wanted.n > FQ_MAX_FIGURES)
        return fq_fail(
            FQ_EINVAL,
            "evaluate: weights, activations, pairs, ranges, granularity, step_scales and "
            "power_of_two ask for %zu figures; expected at most %d",
            wanted.n, FQ_MAX_FIGURES);
    return FQ_OK;
}
