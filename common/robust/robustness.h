/* A method that makes the weights survive quantization. One file and one row of robustness_table.c
 * each.
 *
 * Methods combine: settings list them, and a step composes them in that order. `view_weights` maps
 * the weights that the method before saw to those that the network will see; `pull_gradient` maps
 * the gradient back, in reverse order; penalties add up on the latent weights. With no method the
 * network sees the latent weights. What is averaged is always the latent weights.
 */
#ifndef FQ_ROBUST_ROBUSTNESS_H
#define FQ_ROBUST_ROBUSTNESS_H

#include "base/arena.h"
#include "base/config.h"
#include "model/model.h"
#include "quant/grid.h"

typedef struct fq_robustness fq_robustness;

/* What a method is told about the present local step. */
typedef struct fq_step {
    const fq_model *model;
    uint64_t        seed, client;
    uint32_t        round, step; /* local step, from 0 */
    uint32_t        n_steps;     /* of this turn */
    double label_entropy; /* of the client's examples, 1 if all classes are as frequent: H / ln(C);
                             only for methods that see labels, else 0 */
    const fq_ints *capability; /* bit-widths this client can run; n = 0: all */
} fq_step;

/* One method bound to a model. `state` is scratch of one client turn. */
typedef struct fq_bound {
    const fq_robustness *method;
    const void          *config; /* its section of the settings; 0 what no key sets */
    const fq_model      *model;
    void                *state;
} fq_bound;

struct fq_robustness {
    const char   *name, *summary, *source;
    const fq_key *keys; /* of train.<name> */
    size_t        config_size;
    bool changes_weights; /* by a quantizer: at most one method of a list may do so. Noise does not
                             count. */
    bool sees_labels;     /* wants fq_step.label_entropy */
    /* What cannot be: FQ_EINVAL with the key's name in the text. NULL: nothing. */
    fq_status (*check)(const void *config);
    /* Tensors to add to the model (learned steps, running ranges): write at most `max`, return how
     * many were written. `plain` is the model without any extra. NULL: none. */
    size_t (*extra)(const void *config, const fq_model *plain, fq_extra_tensor *out, size_t max);
    /* Initial values of those tensors, which may depend on the initial weights w. NULL: as planned.
     */
    void (*init_extra)(const fq_bound *bound, float *w);
    /* Memory of one client turn, from `arena`, which may be a measuring one: `state` is NULL then.
     * NULL: none. */
    void (*begin_turn)(fq_bound *bound, fq_arena *arena);
    /* Once per local step, before everything else: draw widths. NULL: nothing. */
    void (*begin_step)(const fq_bound *bound, const fq_step *step);
    /* u [P] from w [P]; values that the method does not touch are copied. NULL: u is w. */
    void (*view_weights)(const fq_bound *bound, const fq_step *step, const float *w, float *u);
    /* g [n_trainable]: gradient by u -> gradient by w, in place, learned steps included. NULL:
     * identity. */
    void (*pull_gradient)(const fq_bound *bound, const fq_step *step, const float *w,
                          const float *u, float *g);
    /* Fill in the hook for activations; false: leaves them alone in this step. `u` are the weights
     * that the network sees, `w` the latent vector, whose ranges it may update, g [n_trainable]
     * takes the gradient of learned activation steps. NULL: none. */
    bool (*site_hook)(const fq_bound *bound, const fq_step *step, float *w, float *g,
                      fq_site_hook *out);
    /* The grids that weight tensor number `index` has at `bits` by the model's own learned steps,
     * from its vector w -> grids [*groups]; w NULL: only whether there are such steps, and how
     * many. false: there are none. NULL: never. Needs no turn. */
    bool (*learned_grids)(const fq_bound *bound, size_t index, int bits, const float *w,
                          fq_grid *grids, size_t *groups);
    /* Change the latent weights w [P] when the client has received them, and after each local step:
     * step->step local steps have been taken. NULL: no. */
    void (*after_step)(const fq_bound *bound, const fq_step *step, float *w);
    /* Add the gradient of the penalty to g, return its value. NULL: none. */
    double (*penalty)(const fq_bound *bound, const float *w, float *g);
    /* ---- clients that hold only a part of the model, in an order: each part holds the ones
     * before. A method with parts goes with no other. ---- */
    /* first_part [P] = number of the first part that holds each value, FQ_NO_PART if none does.
     * FQ_EINVAL: the model has no such parts; the text begins with the layer. NULL: every client
     * holds all. */
    fq_status (*parts)(const void *config, const fq_model *model, uint8_t *first_part);
    /* The number of the part that a client holds; < FQ_MAX_PARTS. */
    size_t (*part)(const void *config, uint64_t client);
    /* The loss of a client takes the logits of classes that it has no example of as zero. NULL: no.
     */
    bool (*masks_absent)(const void *config);
};
enum { FQ_MAX_PARTS = FQ_LIST_LENGTH, FQ_NO_PART = UINT8_MAX };

/* NULL-terminated: kure apqn qat mqat fedhq block_float heterofl */
extern const fq_robustness *const fq_robustnesses[];
const fq_robustness              *fq_robustness_find(const char *name);

/* ---- which tensors, at which width (docs/methods.md, "Layer policies") ---- */
typedef enum fq_layer_policy {
    FQ_LAYERS_ALL,
    FQ_LAYERS_FIRST_LAST_8,
    FQ_LAYERS_FIRST_LAST_FLOAT
} fq_layer_policy;
extern const char *const fq_layer_policy_names[]; /* all first_last_8 first_last_float */
/* Width of FQ_WEIGHT tensor number `index` of `n` when the rest is at `bits`. */
int fq_policy_weight_bits(fq_layer_policy policy, size_t index, size_t n, int bits);
/* Width of the activations at site `index`: first_last_8 keeps the network's input and the last
 * layer's at 8. */
int fq_policy_site_bits(fq_layer_policy policy, size_t index, size_t n, int bits);

/* ---- what training leaves in a model ---- */
/* A running range as it is kept, [s low, s high, s] with s the share of clients that know it -> its
 * ends, which may be written into `kept`. false: nobody knows it. */
bool fq_kept_range(const float *kept, float *low, float *high);

#endif
