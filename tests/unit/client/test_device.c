/* Gates and energy on machines that are folders: files as Linux shows them, below a root. */
#include "base/file.h"
#include "client/device.h"
#include "suite.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char root[PATH_MAX];

static void machine(const char *name) {
    snprintf(root, sizeof root, "%s", fq_test_path(name));
}

/* set("/sys/class/...", "text"): a file of the machine, with the line end that the kernel writes.
 */
static void set(const char *file, const char *text) {
    char path[2 * PATH_MAX], line[512];
    snprintf(path, sizeof path, "%s%s", root, file);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    FQ_ASSERT_OK(fq_folder_make(path));
    *slash = '/';
    int length = snprintf(line, sizeof line, "%s\n", text);
    fq_test_write(path, line, (size_t)length);
}

static void unset(const char *file) {
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s", root, file);
    CU_ASSERT_EQUAL(unlink(path), 0);
}

static bool allowed(const fq_gates *gates) {
    fq_device device;
    char      why[FQ_WHY_BYTES];
    fq_device_init(&device, root);
    bool is = fq_device_allows(&device, gates, why);
    CU_ASSERT_EQUAL(is, why[0] == '\0');
    return is;
}

static bool shut_because(const fq_gates *gates, const char *reason) {
    fq_device device;
    char      why[FQ_WHY_BYTES];
    fq_device_init(&device, root);
    bool is = !fq_device_allows(&device, gates, why) && strcmp(why, reason) == 0;
    if (!is)
        fprintf(stderr, "\"%s\", expected \"%s\"\n", why, reason);
    return is;
}

#define SUPPLY "/sys/class/power_supply/"

static void make_laptop(const char *name) {
    machine(name);
    set(SUPPLY "AC/type", "Mains");
    set(SUPPLY "AC/online", "1");
    set(SUPPLY "BAT0/type", "Battery");
    set(SUPPLY "BAT0/status", "Charging");
    set(SUPPLY "BAT0/capacity", "35");
    set(SUPPLY "BAT0/energy_now", "20000000");
    /* The battery of a mouse is of no account. */
    set(SUPPLY "mouse/type", "Battery");
    set(SUPPLY "mouse/scope", "Device");
    set(SUPPLY "mouse/status", "Discharging");
    set(SUPPLY "mouse/capacity", "3");
}

static void test_nothing(void) {
    machine("empty");
    FQ_ASSERT_OK(fq_folder_make(root));
    const fq_gates none = {0}, all = {.on_power = true,
                                      .battery = 90,
                                      .busy = 0.1,
                                      .unmetered = true,
                                      .celsius = 40};
    CU_ASSERT(allowed(&none));
    CU_ASSERT(allowed(&all)); /* no battery, no thermometer, nothing that shows who is busy */
}

static void test_power(void) {
    make_laptop("laptop");
    const fq_gates plugged = {.on_power = true}, charged = {.battery = 40};
    CU_ASSERT(allowed(&plugged));
    CU_ASSERT(allowed(&charged)); /* on mains power any charge will do */
    set(SUPPLY "AC/online", "0");
    set(SUPPLY "BAT0/status", "Discharging");
    CU_ASSERT(shut_because(&plugged, "not on mains power"));
    CU_ASSERT(shut_because(&charged, "the battery has 35 %, of 40 wanted"));
    set(SUPPLY "BAT0/capacity", "40");
    CU_ASSERT(allowed(&charged));
    CU_ASSERT(!allowed(&plugged));
    set(SUPPLY "BAT0/capacity", "full"); /* no number */
    CU_ASSERT(shut_because(&charged, "the battery does not say how full it is"));
    /* Plugged in, but a supply too weak for what the machine takes. */
    set(SUPPLY "AC/online", "1");
    CU_ASSERT(!allowed(&plugged));
}

#define ZONE "/sys/class/thermal/thermal_zone"

static void test_temperature(void) {
    machine("oven");
    set(ZONE "0/temp", "41000");
    set(ZONE "1/temp", "69900");
    set(ZONE "2/temp", "-274000000x"); /* broken sensor */
    const fq_gates warm = {.celsius = 70};
    fq_device      device;
    char           why[FQ_WHY_BYTES];
    fq_device_init(&device, root);
    CU_ASSERT(fq_device_allows(&device, &warm, why));
    set(ZONE "1/temp", "70000");
    CU_ASSERT(!fq_device_allows(&device, &warm, why));
    CU_ASSERT_STRING_EQUAL(why, "70 degrees, 70 allowed");
    set(ZONE "1/temp", "66000"); /* it must cool down, not just stop heating */
    CU_ASSERT(!fq_device_allows(&device, &warm, why));
    set(ZONE "1/temp", "64900");
    CU_ASSERT(fq_device_allows(&device, &warm, why));
    set(ZONE "1/temp", "69000");
    CU_ASSERT(fq_device_allows(&device, &warm, why));
}

/* user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice */
static void test_busy(void) {
    machine("office");
    const fq_gates idle = {.busy = 0.25};
    fq_device      device;
    char           why[FQ_WHY_BYTES];
    fq_device_init(&device, root);
    set("/proc/stat", "cpu  1000000 0 0 8000 0 0 0 0 0 0\ncpu0 1 2 3 4");
    CU_ASSERT(!fq_device_allows(&device, &idle, why));
    CU_ASSERT_STRING_EQUAL(why, "watching how busy the processors are");
    set("/proc/stat", "cpu  1000100 20 30 8500 250 40 60 0 77 0"); /* 250 of 1000 */
    CU_ASSERT(fq_device_allows(&device, &idle, why));
    set("/proc/stat", "cpu  1000800 20 30 8800 250 40 60 0 77 0"); /* 700 of 1000 */
    CU_ASSERT(!fq_device_allows(&device, &idle, why));
    CU_ASSERT_STRING_EQUAL(why, "other programs use 70 % of the processors");
    set("/proc/stat", "cpu  1000800 20 30 8810 250 40 60 0 77 0"); /* too soon to tell */
    CU_ASSERT(!fq_device_allows(&device, &idle, why));
    set("/proc/stat", "cpu  1000800 20 30 9800 250 40 60 0 77 0");
    CU_ASSERT(fq_device_allows(&device, &idle, why));
}

static const char ROUTES[] =
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
    "%s\t00000000\t0100A8C0\t0003\t0\t0\t%d\t00000000\t0\t0\t0\n"
    "eth9\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";

static void set_route(const char *name, int metric) {
    char text[480];
    snprintf(text, sizeof text, ROUTES, name, metric);
    set("/proc/net/route", text);
}

static void test_link(void) {
    machine("gateway");
    fq_gates free_only = {.unmetered = true};
    CU_ASSERT(allowed(&free_only));
    set_route("eth0", 100);
    CU_ASSERT(allowed(&free_only));
    free_only.metered = (fq_words){.n = 2, .v = {"usb0", "eth0"}};
    CU_ASSERT(shut_because(&free_only, "the link eth0 is metered"));
    set_route("eth0", 700); /* wlan0 comes first now */
    CU_ASSERT(allowed(&free_only));
    free_only.metered.n = 0;
    set_route("modem", 100);
    CU_ASSERT(allowed(&free_only));
    set("/sys/class/net/modem/uevent", "DEVTYPE=wwan\nINTERFACE=modem");
    CU_ASSERT(shut_because(&free_only, "the link modem is metered"));
    set("/sys/class/net/modem/uevent", "INTERFACE=modem");
    set("/sys/class/net/modem/type", "512"); /* PPP */
    CU_ASSERT(!allowed(&free_only));
    unset("/proc/net/route");
    set("/proc/net/ipv6_route",
        "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 "
        "00000000000000000000000000000000 00000100 00000001 00000000 00000001 wwan0\n"
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0");
    CU_ASSERT(allowed(&free_only));
    set("/proc/net/ipv6_route",
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe800000000000000000000000000001 00000400 00000001 00000000 00000003 wwan0");
    CU_ASSERT(shut_because(&free_only, "the link wwan0 is metered"));
}

#define RAPL "/sys/class/powercap/intel-rapl:"

static void test_energy(void) {
    fq_energy first, last;
    machine("server");
    set(RAPL "0/name", "package-0");
    set(RAPL "0/energy_uj", "262143000000");
    set(RAPL "0/max_energy_range_uj", "262143328850");
    set(RAPL "0:0/name", "core"); /* part of the package */
    set(RAPL "0:0/energy_uj", "100");
    set(RAPL "0:0/max_energy_range_uj", "262143328850");
    set(RAPL "0:1/name", "dram");
    set(RAPL "0:1/energy_uj", "1000000");
    set(RAPL "0:1/max_energy_range_uj", "65712999613");
    fq_energy_read(root, &first);
    CU_ASSERT_EQUAL(first.n, 2);
    set(RAPL "0/energy_uj", "671150"); /* past the end: 328850 + 671150 */
    set(RAPL "0:0/energy_uj", "900000100");
    set(RAPL "0:1/energy_uj", "3500000");
    fq_energy_read(root, &last);
    CU_ASSERT_DOUBLE_EQUAL(fq_energy_between(&first, &last), 1.0 + 2.5, 1e-9);
    unset(RAPL "0:1/energy_uj"); /* no longer to be read: better nothing than a part */
    fq_energy_read(root, &last);
    CU_ASSERT(isnan(fq_energy_between(&first, &last)));
}

static void test_battery_energy(void) {
    fq_energy first, last;
    make_laptop("travel");
    fq_energy_read(root, &first);
    set(SUPPLY "BAT0/energy_now", "19000000");
    fq_energy_read(root, &last);
    CU_ASSERT(isnan(fq_energy_between(&first, &last))); /* being charged says nothing */
    set(SUPPLY "BAT0/status", "Discharging");
    fq_energy_read(root, &first);
    CU_ASSERT(isnan(fq_energy_between(&first, &first))); /* less than a step of it */
    set(SUPPLY "BAT0/energy_now", "18990000");           /* 0.01 Wh */
    fq_energy_read(root, &last);
    CU_ASSERT_DOUBLE_EQUAL(fq_energy_between(&first, &last), 36.0, 1e-6);
    unset(SUPPLY "BAT0/energy_now");
    set(SUPPLY "BAT0/charge_now", "1000000"); /* 1 Ah */
    set(SUPPLY "BAT0/voltage_now", "12000000");
    fq_energy_read(root, &last);
    CU_ASSERT_DOUBLE_EQUAL(last.battery, 12.0 * 3600.0, 1e-6);
}

int main(void) {
    static const fq_case cases[] = {
        {"a machine that says nothing", test_nothing},
        {"mains power and battery", test_power},
        {"temperature, with slack", test_temperature},
        {"what others use of the processors", test_busy},
        {"metered links", test_link},
        {"energy from counters that run over", test_energy},
        {"energy from a battery", test_battery_energy},
        {NULL, NULL},
    };
    return fq_run_suite("device", cases);
}
