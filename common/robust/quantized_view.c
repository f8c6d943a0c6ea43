/* Forward: u = Q_b(w) for every weight tensor, with the grid fitted to the latent tensor of this
 * step, or from its learned step. Backward: the straight-through estimator. (Gupta et al. 2022,
 * arXiv 2206.10844; learned steps: Esser et al. 2020, arXiv 1902.08153.) */
#include "robust/quantized_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const fq_site_range_names[] = {"running_minmax", "learned", "minmax", NULL};
const char *const fq_view_grid_names[] = {"signed", "narrow", NULL};

const char *const fq_step_optimizer_names[] = {"sgd", "adam", NULL};

static const float LEAST_STEP =
    1e-6f; /* of learned ones; a smaller or negative value counts as this */

static const fq_tensor *find_tensor(const fq_model *model, const char *name) {
    for (size_t t = 0; t < fq_model_tensor_count(model); t++)
        if (strcmp(fq_model_tensor(model, t)->name, name) == 0)
            return fq_model_tensor(model, t);
    return NULL;
}

static fq_weight_format weight_format(const fq_view_format *format) {
    return (fq_weight_format){
        .rule = fq_range_rules[format->ranges],
        .options = {.percentile = format->percentile, .margin = format->margin},
        .grid = (fq_grid_kind)format->grid,
        .granularity = (fq_granularity)format->granularity};
}

fq_view_settings fq_view_settings_of(const void *section) {
    fq_view_settings settings = *(const fq_view_settings *)section;
    settings.bits.n += settings.bits.n == 0;
    settings.activations.n += settings.activations.n == 0;
    return settings;
}

/* ---- widths and the learned steps they need ---- */

static void add_row(fq_rows *rows, int bits) {
    if (bits != FQ_FLOAT_BITS && fq_row_find(rows, bits) == FQ_NO_ROW)
        rows->bits[rows->n++] = bits;
}

int fq_row_find(const fq_rows *rows, int bits) {
    for (size_t r = 0; r < rows->n; r++)
        if (rows->bits[r] == bits)
            return (int)r;
    return FQ_NO_ROW;
}

static fq_rows weight_rows(const fq_view_settings *settings, size_t index, size_t n) {
    fq_rows rows = {0};
    for (size_t i = 0; i < settings->bits.n; i++)
        add_row(&rows, fq_policy_weight_bits((fq_layer_policy)settings->format.layers, index, n,
                                             (int)settings->bits.v[i]));
    return rows;
}

static fq_rows site_rows(const fq_view_settings *settings, size_t index, size_t n) {
    const fq_ints *bits = settings->tied ? &settings->bits : &settings->activations;
    fq_rows        rows = {0};
    for (size_t i = 0; i < bits->n; i++)
        add_row(&rows, fq_policy_site_bits((fq_layer_policy)settings->format.layers, index, n,
                                           (int)bits->v[i]));
    return rows;
}

/* "conv1.weight" -> "conv1.weight.step", and for its site "conv1.input.step" or
 * "conv1.input.range". */
static void name_weight_steps(const fq_tensor *tensor, char name[FQ_TENSOR_NAME]) {
    snprintf(name, FQ_TENSOR_NAME, "%.50s.step", tensor->name);
}

static void name_site(const fq_tensor *tensor, const char *what, char name[FQ_TENSOR_NAME]) {
    const char *dot = strrchr(tensor->name, '.');
    const int   length = dot == NULL ? 50 : (int)(dot - tensor->name);
    snprintf(name, FQ_TENSOR_NAME, "%.*s.input.%.6s", length < 50 ? length : 50, tensor->name,
             what);
}

size_t fq_view_extra(const void *section, const fq_model *plain, fq_extra_tensor *out, size_t max) {
    const fq_view_settings settings = fq_view_settings_of(section);
    const fq_view_format  *format = &settings.format;
    const fq_weight_format weights = weight_format(format);
    const size_t           n = fq_weight_tensor_count(plain);
    size_t                 cursor = 0, written = 0;
    for (size_t i = 0; i < n; i++) {
        const fq_tensor *tensor = fq_weight_tensor_next(plain, &cursor);
        const fq_rows    rows = weight_rows(&settings, i, n), site = site_rows(&settings, i, n);
        if (weights.rule->learned && rows.n > 0 && written < max) {
            fq_extra_tensor *steps = &out[written++];
            *steps =
                (fq_extra_tensor){.kind = FQ_STEP,
                                  .count = rows.n * fq_weight_groups(&weights, tensor->shape[0]),
                                  .layer = tensor->layer};
            name_weight_steps(tensor, steps->name);
        }
        if (format->activation_ranges == FQ_SITE_BATCH || site.n == 0)
            continue;
        const bool learned = format->activation_ranges == FQ_SITE_LEARNED;
        if (learned && written < max) {
            fq_extra_tensor *steps = &out[written++];
            *steps = (fq_extra_tensor){.kind = FQ_STEP, .count = site.n, .layer = tensor->layer};
            name_site(tensor, "step", steps->name);
        }
        /* Zeros: no batch has been seen yet. */
        if (written < max) {
            fq_extra_tensor *range = &out[written++];
            *range = (fq_extra_tensor){
                .kind = FQ_RANGE, .count = learned ? 2 : 3, .layer = tensor->layer};
            name_site(tensor, "range", range->name);
        }
    }
    return written;
}

/* A step as the model keeps it, and back. */
static float kept_step(const fq_view_settings *settings, float step) {
    return settings->format.log_steps ? logf(step) : step;
}

static float step_of(const fq_view_settings *settings, float kept) {
    const float step = settings->format.log_steps ? expf(fminf(kept, 80.0f)) : kept;
    return fmaxf(step, LEAST_STEP);
}

void fq_view_init_extra(const fq_bound *bound, float *w) {
    const fq_view_settings settings = fq_view_settings_of(bound->config);
    const fq_model        *model = bound->model;
    const fq_weight_format format = weight_format(&settings.format);
    if (!format.rule->learned)
        return;
    const size_t n = fq_weight_tensor_count(model);
    size_t       cursor = 0;
    for (size_t i = 0; i < n; i++) {
        const fq_tensor *tensor = fq_weight_tensor_next(model, &cursor);
        const fq_rows    rows = weight_rows(&settings, i, n);
        char             name[FQ_TENSOR_NAME];
        name_weight_steps(tensor, name);
        const fq_tensor *steps = find_tensor(model, name);
        if (steps == NULL)
            continue;
        const size_t groups = fq_weight_groups(&format, tensor->shape[0]),
                     count = tensor->count / groups;
        for (size_t r = 0; r < rows.n; r++)
            for (size_t k = 0; k < groups; k++)
                w[steps->offset + r * groups + k] =
                    kept_step(&settings, format.rule
                                             ->fit(&format.options, format.grid, rows.bits[r],
                                                   w + tensor->offset + k * count, count, NULL)
                                             .step);
    }
}

bool fq_view_learned_grids(const fq_bound *bound, size_t index, int bits, const float *w,
                           fq_grid *grids, size_t *groups) {
    const fq_view_settings settings = fq_view_settings_of(bound->config);
    const fq_weight_format format = weight_format(&settings.format);
    const size_t           n = fq_weight_tensor_count(bound->model);
    const fq_rows          rows = weight_rows(&settings, index, n);
    const int              row = fq_row_find(&rows, bits);
    if (!format.rule->learned || row == FQ_NO_ROW)
        return false;
    const fq_tensor *tensor = NULL;
    size_t           cursor = 0;
    for (size_t i = 0; i <= index; i++)
        tensor = fq_weight_tensor_next(bound->model, &cursor);
    char name[FQ_TENSOR_NAME];
    name_weight_steps(tensor, name);
    const fq_tensor *steps = find_tensor(bound->model, name);
    *groups = fq_weight_groups(&format, tensor->shape[0]);
    if (steps == NULL || steps->count != rows.n * *groups)
        return false;
    for (size_t k = 0; w != NULL && k < *groups; k++)
        grids[k] = fq_grid_of_step(
            format.grid, bits, step_of(&settings, w[steps->offset + (size_t)row * *groups + k]));
    return true;
}

/* ---- a client turn ---- */

static void bind_tensor(fq_view *view, size_t index, const fq_tensor *tensor, fq_grid *grids) {
    const fq_view_settings *settings = &view->settings;
    fq_view_tensor         *t = &view->tensors[index];
    fq_view_site           *site = &view->sites[index];
    char                    name[FQ_TENSOR_NAME];
    *t = (fq_view_tensor){.tensor = tensor,
                          .rows = weight_rows(settings, index, view->n),
                          .groups = fq_weight_groups(&view->weight_format, tensor->shape[0]),
                          .grids = grids,
                          .bits = FQ_FLOAT_BITS};
    if (view->weight_format.rule->learned) {
        name_weight_steps(tensor, name);
        t->steps = find_tensor(view->model, name);
    }
    *site = (fq_view_site){.rows = site_rows(settings, index, view->n), .bits = FQ_FLOAT_BITS};
    const bool nonnegative = fq_model_site_nonnegative(view->model, index);
    if (settings->format.activation_ranges == FQ_SITE_LEARNED) {
        /* A learned step has no zero point. */
        site->kind = nonnegative ? FQ_GRID_UNSIGNED : FQ_GRID_SIGNED;
        name_site(tensor, "step", name);
        site->steps = find_tensor(view->model, name);
    } else {
        site->kind = nonnegative ? FQ_GRID_UNSIGNED : FQ_GRID_ASYMMETRIC;
    }
    name_site(tensor, "range", name);
    site->range = find_tensor(view->model, name);
}

void fq_view_begin_turn(fq_bound *bound, fq_arena *arena) {
    const fq_view_settings settings = fq_view_settings_of(bound->config);
    const fq_model        *model = bound->model;
    const fq_weight_format format = weight_format(&settings.format);
    const size_t           n = fq_weight_tensor_count(model);
    size_t                 cursor = 0, n_grids = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        const fq_tensor *tensor = fq_weight_tensor_next(model, &cursor);
        n_grids += fq_weight_groups(&format, tensor->shape[0]);
        largest = tensor->count > largest ? tensor->count : largest;
    }
    fq_view        *view = FQ_ARENA_NEW(arena, fq_view, 1);
    fq_view_tensor *tensors = FQ_ARENA_NEW(arena, fq_view_tensor, n);
    fq_view_site   *sites = FQ_ARENA_NEW(arena, fq_view_site, n);
    fq_grid        *grids = FQ_ARENA_NEW(arena, fq_grid, n_grids);
    const size_t    first = fq_model_parameters(model);
    const bool      with_adam = settings.format.step_optimizer == FQ_STEPS_ADAM;
    const size_t    n_steps = with_adam ? fq_model_trainable(model) - first : 0;
    float          *moments = n_steps > 0 ? FQ_ARENA_NEW(arena, float, 3 * n_steps) : NULL;
    float *scratch = format.rule->needs_scratch ? FQ_ARENA_NEW(arena, float, largest) : NULL;
    bound->state = view;
    if (view == NULL || tensors == NULL || sites == NULL || grids == NULL ||
        (format.rule->needs_scratch && scratch == NULL) || (n_steps > 0 && moments == NULL)) {
        bound->state = NULL; /* the arena was measuring, or says that it is exhausted */
        return;
    }
    *view = (fq_view){.settings = settings,
                      .weight_format = format,
                      .model = model,
                      .n = n,
                      .tensors = tensors,
                      .sites = sites,
                      .scratch = scratch};
    if (n_steps > 0) {
        memset(moments, 0, 3 * n_steps * sizeof *moments);
        view->adam = (fq_steps_adam){.first = first,
                                     .n = n_steps,
                                     .g = moments,
                                     .m = moments + n_steps,
                                     .v = moments + 2 * n_steps};
    }
    cursor = 0;
    for (size_t i = 0; i < n; i++) {
        bind_tensor(view, i, fq_weight_tensor_next(model, &cursor), grids);
        grids += tensors[i].groups;
    }
}

/* The widths of the weights and of the activations: one pair for all layers, or one for each. */
static void draw_widths(const fq_view_settings *settings, const fq_step *step, uint32_t layer,
                        int *weights, int *activations) {
    const fq_width_law of_weights = {
        .bits = &settings->bits, .weights = &settings->weights, .odds = (fq_odds)settings->odds};
    const fq_width_law of_activations = {.bits = &settings->activations,
                                         .odds = (fq_odds)settings->odds};
    const uint32_t     local_step = settings->draw == FQ_DRAW_CLIENT ? 0 : step->step;
    fq_rng             rng =
        fq_rng_stream(step->seed, FQ_RNG_BITS, step->round, step->client, local_step, layer);
    *weights = fq_width_draw(&of_weights, step->capability, &rng);
    *activations = settings->tied ? *weights : fq_width_draw(&of_activations, NULL, &rng);
}

void fq_view_begin_step(const fq_bound *bound, const fq_step *step) {
    fq_view                *view = bound->state;
    const fq_view_settings *settings = &view->settings;
    const fq_layer_policy   layers = (fq_layer_policy)settings->format.layers;
    int                     weights = FQ_FLOAT_BITS, activations = FQ_FLOAT_BITS;
    const bool              quantized = step->round >= settings->format.start_round;
    for (size_t i = 0; i < view->n; i++) {
        if (quantized && (i == 0 || settings->draw == FQ_DRAW_LAYER))
            draw_widths(settings, step, (uint32_t)i, &weights, &activations);
        view->tensors[i].bits = fq_policy_weight_bits(layers, i, view->n, weights);
        view->sites[i].bits = fq_policy_site_bits(layers, i, view->n, activations);
    }
}

void fq_view_begin_float(const fq_bound *bound) {
    fq_view *view = bound->state;
    for (size_t i = 0; i < view->n; i++)
        view->tensors[i].bits = view->sites[i].bits = FQ_FLOAT_BITS;
}

/* The learned steps of the present width, or NULL: then the grid is fitted. A width that a client
 * brings by its capability alone has no learned step. */
static const float *learned_steps(const fq_view_tensor *t, const float *w, size_t *offset) {
    const int row = t->steps == NULL ? FQ_NO_ROW : fq_row_find(&t->rows, t->bits);
    if (row == FQ_NO_ROW)
        return NULL;
    *offset = t->steps->offset + (size_t)row * t->groups;
    return w + *offset;
}

static void find_grids(const fq_view *view, const fq_view_tensor *t, const float *w) {
    size_t       offset;
    const float *steps = learned_steps(t, w, &offset);
    if (steps == NULL) {
        fq_weight_fit(&view->weight_format, t->bits, w + t->tensor->offset, t->tensor->count,
                      t->tensor->shape[0], view->scratch, t->grids);
        return;
    }
    for (size_t k = 0; k < t->groups; k++)
        t->grids[k] =
            fq_grid_of_step(view->weight_format.grid, t->bits, step_of(&view->settings, steps[k]));
}

void fq_view_weights(const fq_bound *bound, const fq_step *step, const float *w, float *u) {
    (void)step;
    const fq_view *view = bound->state;
    size_t         copied = 0; /* u[0, copied) is done */
    for (size_t i = 0; i < view->n; i++) {
        const fq_view_tensor *t = &view->tensors[i];
        if (t->bits == FQ_FLOAT_BITS)
            continue;
        const size_t begin = t->tensor->offset, count = t->tensor->count;
        memcpy(u + copied, w + copied, (begin - copied) * sizeof *u);
        find_grids(view, t, w);
        fq_weight_quantize(t->grids, t->groups, w + begin, count, u + begin);
        copied = begin + count;
    }
    memcpy(u + copied, w + copied, (fq_model_size(view->model) - copied) * sizeof *u);
}

void fq_view_round(const fq_bound *bound, float *w) {
    const fq_view *view = bound->state;
    for (size_t i = 0; i < view->n; i++) {
        const fq_view_tensor *t = &view->tensors[i];
        float                *x = w + t->tensor->offset;
        if (t->bits == FQ_FLOAT_BITS)
            continue;
        find_grids(view, t, w);
        fq_weight_quantize(t->grids, t->groups, x, t->tensor->count, x);
    }
}

void fq_view_pull(const fq_bound *bound, const fq_step *step, const float *w, const float *u,
                  float *g) {
    (void)step;
    (void)u;
    const fq_view        *view = bound->state;
    const fq_view_format *format = &view->settings.format;
    for (size_t i = 0; i < view->n; i++) {
        const fq_view_tensor *t = &view->tensors[i];
        if (t->bits == FQ_FLOAT_BITS)
            continue;
        const size_t begin = t->tensor->offset, count = t->tensor->count, part = count / t->groups;
        size_t       offset;
        if (learned_steps(t, w, &offset) != NULL)
            for (size_t k = 0; k < t->groups; k++)
                g[offset + k] +=
                    (float)(format->step_rate *
                            (format->log_steps ? (double)t->grids[k].step : 1.0) *
                            fq_step_gradient(&t->grids[k], w + begin + k * part,
                                             g + begin + k * part, part, format->lsq_grad_scale));
        fq_weight_pull(t->grids, t->groups, w + begin, count, (float)format->ewgs, g + begin);
    }
    /* Adam takes the gradient of the steps away from the weights' step rule. */
    const fq_steps_adam *adam = &view->adam;
    if (adam->n > 0) {
        memcpy(adam->g, g + adam->first, adam->n * sizeof *adam->g);
        memset(g + adam->first, 0, adam->n * sizeof *g);
    }
}

/* m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,
 * w <- w - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)   (Kingma & Ba 2015) */
void fq_view_after_step(const fq_bound *bound, const fq_step *step, float *w) {
    const fq_view       *view = bound->state;
    const fq_steps_adam *adam = &view->adam;
    const double         b1 = 0.9, b2 = 0.999, eps = 1e-8;
    if (adam->n == 0 || step->step == 0 ||
        step->round < view->settings.format.start_round) /* nothing is quantized yet */
        return;
    const double first = 1.0 - pow(b1, step->step), second = 1.0 - pow(b2, step->step);
    for (size_t i = 0; i < adam->n; i++) {
        const double g = (double)adam->g[i];
        const double m = b1 * (double)adam->m[i] + (1.0 - b1) * g;
        const double v = b2 * (double)adam->v[i] + (1.0 - b2) * g * g;
        adam->m[i] = (float)m;
        adam->v[i] = (float)v;
        w[adam->first + i] -=
            (float)(view->settings.format.adam_rate * (m / first) / (sqrt(v / second) + eps));
    }
}

bool fq_view_site_hook(const fq_bound *bound, const fq_step *step, float *w, float *g,
                       fq_site_hook *out) {
    (void)step;
    fq_view *view = bound->state;
    bool     any = false;
    for (size_t i = 0; i < view->n; i++)
        any = any || view->sites[i].bits != FQ_FLOAT_BITS;
    if (!any)
        return false;
    view->w = w;
    view->g = g;
    *out = (fq_site_hook){.context = view, .quantize = fq_site_quantize, .pull = fq_site_pull};
    return true;
}
