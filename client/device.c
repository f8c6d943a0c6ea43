#include "client/device.h"

#include "base/clock.h"
#include "base/file.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY(field) .offset = offsetof(fq_gates, field)
const fq_key fq_gates_keys[] = {
    {.name = "on_power",
     .type = FQ_TYPE_BOOL,
     KEY(on_power),
     .help = "Take part only on mains power."},
    {.name = "battery",
     .type = FQ_TYPE_INT,
     KEY(battery),
     .max = 100,
     .help = "Percent that the battery must have, unless on mains power; 0: any."},
    {.name = "busy",
     .type = FQ_TYPE_REAL,
     KEY(busy),
     .max = 1,
     .help = "Most that other programs may use of the processors, 0 to 1; 0: any."},
    {.name = "unmetered",
     .type = FQ_TYPE_BOOL,
     KEY(unmetered),
     .help = "Take part only if the default route is not over a metered link."},
    {.name = "metered",
     .type = FQ_TYPE_WORDS,
     KEY(metered),
     .help = "Network interfaces that count as metered, beside mobile and dial-up ones."},
    {.name = "celsius",
     .type = FQ_TYPE_REAL,
     KEY(celsius),
     .max = 150,
     .help = "Take part only while every sensor shows less; 0: any."},
    {.name = NULL},
};

void fq_device_init(fq_device *device, const char *root) {
    *device = (fq_device){.root = root, .share = -1.0};
}

/* ---- small files ---- */
/* The first line of a file, which is closed, without its end; "" if there is none. */
static bool read_line(char *line, int capacity, FILE *file) {
    line[0] = '\0';
    if (file == NULL)
        return false;
    bool found = fgets(line, capacity, file) != NULL; /* some of these refuse only when read */
    fclose(file);
    line[found ? strcspn(line, "\n") : 0] = '\0';
    return found;
}

/* /sys/class/CLASS/NAME/FIELD; NULL: it cannot be read. */
static FILE *open_field(const char *root, const char *class, const char *name, const char *field) {
    char path[PATH_MAX];
    int  length = snprintf(path, sizeof path, "%s/sys/class/%s/%s/%s", root, class, name, field);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, "re") : NULL;
}

static bool read_field(char *line, int capacity, const char *root, const char *class,
                       const char *name, const char *field) {
    return read_line(line, capacity, open_field(root, class, name, field));
}

/* The words of a line, cut apart in place; how many there are, at most `capacity`. */
static size_t split_words(char *line, char *words[], size_t capacity) {
    size_t n = 0;
    char  *rest = NULL;
    for (char *word = strtok_r(line, " \t\n", &rest); word != NULL && n < capacity;
         word = strtok_r(NULL, " \t\n", &rest))
        words[n++] = word;
    return n;
}

/* A number in /sys/class/CLASS/NAME/FIELD. */
static bool read_number(const char *root, const char *class, const char *name, const char *field,
                        double *out) {
    char line[64], *end;
    if (!read_field(line, sizeof line, root, class, name, field))
        return false;
    *out = strtod(line, &end);
    return end != line && *end == '\0' && isfinite(*out);
}

static DIR *open_class(const char *root, const char *class) {
    char below[64], path[PATH_MAX];
    snprintf(below, sizeof below, "sys/class/%s", class);
    fq_path_join(root, below, path);
    return opendir(path);
}

/* The next entry of /sys/class/CLASS whose name begins with `prefix`; NULL: no more. */
static const char *next_of(DIR *entries, const char *prefix) {
    const struct dirent *entry;
    while (entries != NULL && (entry = readdir(entries)) != NULL)
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            return entry->d_name;
    return NULL;
}

static void close_class(DIR *entries) {
    if (entries != NULL)
        closedir(entries);
}

/* ---- power ---- */
typedef struct power {
    bool   has_battery, mains, discharging;
    double percent; /* of the emptiest; NaN: not told */
} power;

/* Mice and keyboards have batteries too: scope "Device". */
static bool is_battery(const char *root, const char *name) {
    char type[32], scope[32];
    return read_field(type, sizeof type, root, "power_supply", name, "type") &&
           strcmp(type, "Battery") == 0 &&
           !(read_field(scope, sizeof scope, root, "power_supply", name, "scope") &&
             strcmp(scope, "Device") == 0);
}

static power look_at_power(const char *root) {
    power       found = {.percent = (double)NAN};
    DIR        *entries = open_class(root, "power_supply");
    const char *name;
    while ((name = next_of(entries, "")) != NULL) {
        double value;
        char   line[32];
        if (is_battery(root, name)) {
            found.has_battery = true;
            if (read_number(root, "power_supply", name, "capacity", &value))
                found.percent = fmin(found.percent, value); /* of NaN and a number: the number */
            if (read_field(line, sizeof line, root, "power_supply", name, "status") &&
                strcmp(line, "Discharging") == 0)
                found.discharging = true;
        } else if (read_number(root, "power_supply", name, "online", &value) && value > 0) {
            found.mains = true;
        }
    }
    close_class(entries);
    return found;
}

static bool power_allows(const char *root, const fq_gates *gates, char why[FQ_WHY_BYTES]) {
    power p = look_at_power(root);
    bool  fed = !p.has_battery || (p.mains && !p.discharging);
    if (fed)
        return true;
    if (gates->on_power) {
        snprintf(why, FQ_WHY_BYTES, "not on mains power");
        return false;
    }
    if (gates->battery == 0 || p.percent >= (double)gates->battery)
        return true;
    if (isnan(p.percent))
        snprintf(why, FQ_WHY_BYTES, "the battery does not say how full it is");
    else
        snprintf(why, FQ_WHY_BYTES, "the battery has %.0f %%, of %" PRId64 " wanted", p.percent,
                 gates->battery);
    return false;
}

/* ---- processors ---- */
/* First line of /proc/stat: "cpu", then ticks in user, nice, system, idle, iowait, irq, softirq,
 * steal; what follows is part of user and nice. */
static bool read_ticks(const char *root, uint64_t *busy, uint64_t *total) {
    enum { IDLE = 3, IOWAIT = 4, STEAL = 7 };
    char path[PATH_MAX], line[256], *at = line + 3;
    fq_path_join(root, "proc/stat", path);
    if (!read_line(line, sizeof line, fopen(path, "re")) || strncmp(line, "cpu ", 4) != 0)
        return false;
    *busy = *total = 0;
    for (int i = 0; i <= STEAL; i++) {
        char    *end;
        uint64_t ticks = strtoull(at, &end, 10);
        if (end == at)
            break;
        at = end;
        *total += ticks;
        *busy += i == IDLE || i == IOWAIT ? 0 : ticks;
    }
    return *total > 0;
}

static uint64_t own_ticks(void) {
    return (uint64_t)(fq_process_seconds() * (double)sysconf(_SC_CLK_TCK));
}

/* Our own training must not shut the gate for us. */
static bool processors_allow(fq_device *device, const fq_gates *gates, char why[FQ_WHY_BYTES]) {
    uint64_t busy, total, own = own_ticks();
    if (!read_ticks(device->root, &busy, &total))
        return true;
    uint64_t used = busy > own ? busy - own : 0;
    uint64_t least = (uint64_t)sysconf(_SC_CLK_TCK) / 2; /* of one processor */
    if (device->total == 0 || total >= device->total + least) {
        if (device->total > 0)
            device->share = used > device->used
                                ? (double)(used - device->used) / (double)(total - device->total)
                                : 0.0;
        device->used = used;
        device->total = total;
    }
    if (device->share < 0.0) {
        snprintf(why, FQ_WHY_BYTES, "watching how busy the processors are");
        return false;
    }
    if (device->share <= gates->busy)
        return true;
    snprintf(why, FQ_WHY_BYTES, "other programs use %.0f %% of the processors",
             100.0 * device->share);
    return false;
}

/* ---- network ---- */
typedef struct route {
    const char   *interface;
    unsigned long metric;
    bool          is_default, is_up;
} route;

/* /proc/net/route: interface, destination, gateway, flags, count, use, metric, mask, ... */
static bool read_ipv4_route(char *line, route *out) {
    char *words[8];
    if (split_words(line, words, 8) < 8)
        return false;
    *out = (route){.interface = words[0],
                   .metric = strtoul(words[6], NULL, 10),
                   .is_default =
                       strcmp(words[1], "00000000") == 0 && strcmp(words[7], "00000000") == 0,
                   .is_up = (strtoul(words[3], NULL, 16) & 1) != 0};
    return true;
}

/* /proc/net/ipv6_route: destination, its length, source, its length, next hop, metric, count, use,
 * flags, interface. */
static bool read_ipv6_route(char *line, route *out) {
    char *words[10];
    if (split_words(line, words, 10) < 10)
        return false;
    *out = (route){.interface = words[9],
                   .metric = strtoul(words[5], NULL, 16),
                   .is_default = strtoul(words[1], NULL, 16) == 0 && strcmp(words[9], "lo") != 0,
                   .is_up = (strtoul(words[8], NULL, 16) & 1) != 0};
    return true;
}

/* Interface of the IPv4 default route with the lowest metric, else of the IPv6 one. */
static bool find_default_route(const char *root, char name[FQ_WORD_BYTES]) {
    static const struct {
        const char *file;
        bool (*read)(char *line, route *out);
    } tables[] = {{"proc/net/route", read_ipv4_route}, {"proc/net/ipv6_route", read_ipv6_route}};
    bool found = false;
    for (int t = 0; t < 2 && !found; t++) {
        char          path[PATH_MAX], line[512];
        unsigned long best = ULONG_MAX;
        route         next;
        fq_path_join(root, tables[t].file, path);
        FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof line, file) != NULL)
            if (tables[t].read(line, &next) && next.is_default && next.is_up &&
                next.metric < best) {
                best = next.metric;
                found = true;
                snprintf(name, FQ_WORD_BYTES, "%s", next.interface);
            }
        if (file != NULL)
            fclose(file);
    }
    return found;
}

/* Mobile modems say DEVTYPE=wwan; type 512 is PPP, as they are dialled. */
static bool is_mobile(const char *root, const char *name) {
    char   line[128];
    double type;
    if (read_number(root, "net", name, "type", &type) && type == 512.0)
        return true;
    if (strncmp(name, "wwan", 4) == 0 || strncmp(name, "ppp", 3) == 0)
        return true;
    FILE *file = open_field(root, "net", name, "uevent");
    bool  mobile = false;
    while (file != NULL && !mobile && fgets(line, sizeof line, file) != NULL)
        mobile = strncmp(line, "DEVTYPE=wwan", 12) == 0;
    if (file != NULL)
        fclose(file);
    return mobile;
}

static bool network_allows(const char *root, const fq_gates *gates, char why[FQ_WHY_BYTES]) {
    char name[FQ_WORD_BYTES];
    if (!find_default_route(root, name))
        return true; /* the coordinator is near, or there is no network at all */
    bool metered = is_mobile(root, name);
    for (size_t i = 0; i < gates->metered.n; i++)
        metered = metered || strcmp(gates->metered.v[i], name) == 0;
    if (metered)
        snprintf(why, FQ_WHY_BYTES, "the link %s is metered", name);
    return !metered;
}

/* ---- temperature ---- */
static bool temperature_allows(fq_device *device, const fq_gates *gates, char why[FQ_WHY_BYTES]) {
    static const double COOLER = 5.0; /* degrees, or the gate would flutter */
    double              hottest = -HUGE_VAL, milli;
    DIR                *entries = open_class(device->root, "thermal");
    const char         *name;
    while ((name = next_of(entries, "thermal_zone")) != NULL)
        if (read_number(device->root, "thermal", name, "temp", &milli))
            hottest = fmax(hottest, milli / 1000.0);
    close_class(entries);
    device->hot = hottest >= gates->celsius - (device->hot ? COOLER : 0.0);
    if (device->hot)
        snprintf(why, FQ_WHY_BYTES, "%.0f degrees, %.0f allowed", hottest, gates->celsius);
    return !device->hot;
}

bool fq_device_allows(fq_device *device, const fq_gates *gates, char why[FQ_WHY_BYTES]) {
    why[0] = '\0';
    return (!(gates->on_power || gates->battery > 0) || power_allows(device->root, gates, why)) &&
           (!(gates->celsius > 0.0) || temperature_allows(device, gates, why)) &&
           (!gates->unmetered || network_allows(device->root, gates, why)) &&
           (!(gates->busy > 0.0) || processors_allow(device, gates, why));
}

/* ---- energy ---- */
/* Zones of the whole package only: intel-rapl:0 holds intel-rapl:0:0, the cores, which must not be
 * counted again; memory ("dram") is apart from the package, and psys would hold everything. */
static bool is_meter(const char *root, const char *zone) {
    char name[32];
    return read_field(name, sizeof name, root, "powercap", zone, "name") &&
           (strncmp(name, "package", 7) == 0 || strcmp(name, "dram") == 0);
}

static double battery_joules(const char *root) {
    double      joules = (double)NAN;
    DIR        *entries = open_class(root, "power_supply");
    const char *name;
    while ((name = next_of(entries, "")) != NULL) {
        double energy, charge, voltage, left = (double)NAN;
        if (!is_battery(root, name))
            continue;
        if (read_number(root, "power_supply", name, "energy_now", &energy)) /* microwatt hours */
            left = energy * 3600e-6;
        else if (read_number(root, "power_supply", name, "charge_now", &charge) &&
                 read_number(root, "power_supply", name, "voltage_now", &voltage))
            left = charge * 1e-6 * voltage * 1e-6 * 3600.0;
        if (!isnan(left))
            joules = isnan(joules) ? left : joules + left;
    }
    close_class(entries);
    return joules;
}

void fq_energy_read(const char *root, fq_energy *out) {
    *out = (fq_energy){.battery =
                           look_at_power(root).discharging ? battery_joules(root) : (double)NAN};
    DIR        *entries = open_class(root, "powercap");
    const char *zone;
    while (out->n < FQ_MAX_METERS && (zone = next_of(entries, "intel-rapl:")) != NULL) {
        double now, range; /* below 2^53 by far */
        if (!is_meter(root, zone) || !read_number(root, "powercap", zone, "energy_uj", &now) ||
            !read_number(root, "powercap", zone, "max_energy_range_uj", &range) || now < 0.0 ||
            range < now || range > 0x1p60)
            continue;
        out->meter[out->n].now = (uint64_t)now;
        out->meter[out->n++].range = (uint64_t)range;
    }
    close_class(entries);
}

double fq_energy_between(const fq_energy *first, const fq_energy *last) {
    double joules = 0.0;
    if (first->n == 0 || first->n != last->n) {
        joules = first->battery - last->battery;
        return joules > 0.0 ? joules : (double)NAN;
    }
    for (size_t i = 0; i < first->n; i++) {
        uint64_t begin = first->meter[i].now, end = last->meter[i].now;
        uint64_t used = end >= begin ? end - begin : first->meter[i].range - begin + end;
        joules += 1e-6 * (double)used;
    }
    return joules;
}
