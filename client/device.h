/* What a device's system files say of itself: may it take part now, and what has a turn cost?
 *
 * All files are read below a root, "" for the machine itself, so that a test brings a machine of
 * its own. A file that is not there says nothing: a machine without a battery is on power, one
 * without a thermometer is not hot.
 */
#ifndef FQ_CLIENT_DEVICE_H
#define FQ_CLIENT_DEVICE_H

#include "base/config.h"

/* When a client may take part; section `gates` of client.yaml. All zero: always. */
typedef struct fq_gates {
    bool     on_power;  /* only then */
    int64_t  battery;   /* percent that it must have; 0: any. Not asked of while on power. */
    double   busy;      /* most that others may use of the processors, 0 to 1; 0: any */
    bool     unmetered; /* only over such a link */
    fq_words metered;   /* names of network interfaces that count as metered */
    double   celsius;   /* hottest sensor below this; 0: any */
} fq_gates;
extern const fq_key fq_gates_keys[];

typedef struct fq_device {
    const char *root;
    uint64_t    used, total; /* by others, and in all, in clock ticks of all processors, so far */
    double      share;       /* that others have used lately; negative: not known yet */
    bool        hot;
} fq_device;
void fq_device_init(fq_device *device, const char *root);

enum { FQ_WHY_BYTES = 96 };
/* If not, `why` is for people. What is asked often costs little; the share of processors is taken
 * anew when half a second or more has passed. A device that was too hot must cool by 5 degrees. */
bool fq_device_allows(fq_device *device, const fq_gates *gates, char why[FQ_WHY_BYTES]);

/* ---- energy, of the whole machine ----
 * From the processor's counters (RAPL: package and, where it is apart, memory) if they may be read;
 * else from what a battery that is being discharged has left, whose steps are coarse. */
enum { FQ_MAX_METERS = 16 };
typedef struct fq_energy {
    size_t n; /* counters; 0: none */
    struct {
        uint64_t now, range; /* in microjoules; goes on at 0 after range */
    } meter[FQ_MAX_METERS];
    double battery; /* joules left; NaN: there is none, or it is not discharged */
} fq_energy;
void fq_energy_read(const char *root, fq_energy *out);
/* Joules from one reading to a later one; NaN if they do not tell. */
double fq_energy_between(const fq_energy *first, const fq_energy *last);

#endif
