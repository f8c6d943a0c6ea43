/* A bad network between clients and a coordinator on this machine: a proxy for TCP that spoils what
 * it carries, the same way each time for the same seed and the same traffic.
 *
 *   fault_proxy LISTEN_PORT TARGET_PORT SEED FAULT...
 *   FAULT = KIND=AMOUNT[@up|@down][xTIMES]
 *
 *   delay=MS        what comes is passed on that much later (both ways)
 *   slow=BYTES      at most so many a second, each way of each connection (both ways)
 *   cut=BYTES       the connection is reset, with all that is on its way
 *   truncate=BYTES  nothing after this byte is passed on, and the connection ends in order
 *   flip=BYTES      one bit is turned
 *   repeat=BYTES    what was read from the network at once is passed on twice
 *   swap=BYTES      its second half is passed on before its first
 *   stall=BYTES     from here on nothing passes either way, and nothing ends
 *
 * The last six strike each connection somewhere between BYTES and twice BYTES of what has gone
 * @up (from client to coordinator; the default) or @down, TIMES (1) times in all. Each strike is
 * one line on stdout, `cut connection=3 way=up byte=812345`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FAULTS = 16, MAX_TUNNELS = 256, PIECE = 16384, MOST_QUEUED = 1 << 20 };
enum { UP, DOWN };

typedef enum fault_kind {
    DELAY,
    SLOW,
    CUT,
    TRUNCATE,
    FLIP,
    REPEAT,
    SWAP,
    STALL,
    N_KINDS
} fault_kind;
static const char *const kind_names[] = {"delay", "slow",   "cut",  "truncate",
                                         "flip",  "repeat", "swap", "stall"};

typedef struct fault {
    fault_kind kind;
    uint64_t   amount;
    int        way;
    unsigned   times; /* left */
} fault;

/* Bytes that were read at once and wait to be passed on. */
typedef struct piece {
    struct piece *next;
    int64_t       due_ms;
    size_t        at, size;
    unsigned char data[];
} piece;

/* One way of a connection. */
typedef struct way {
    piece   *first, *last;
    size_t   queued;
    uint64_t passed; /* bytes read so far */
    bool     ended;  /* nothing more is read */
    double   allowance;
    int64_t  filled_ms;
} way;

typedef struct tunnel {
    uint64_t number;
    int      fds[2]; /* of UP's and DOWN's senders: client, coordinator */
    way      ways[2];
    bool     struck[MAX_FAULTS], stalled, dead;
} tunnel;

typedef struct proxy {
    int      listener;
    uint16_t target;
    uint64_t seed, connections;
    size_t   n_faults, n_tunnels;
    fault    faults[MAX_FAULTS];
    tunnel   tunnels[MAX_TUNNELS];
} proxy;

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* SplitMix64 (Steele, Lea, Flood 2014): a number of seed, connection and fault. */
static uint64_t draw(uint64_t seed, uint64_t connection, uint64_t fault_index) {
    uint64_t z = seed * 0x9e3779b97f4a7c15u + connection * 0xd1b54a32d192ed03u + fault_index;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t amount_of(const proxy *p, fault_kind kind) {
    for (size_t i = 0; i < p->n_faults; i++)
        if (p->faults[i].kind == kind)
            return p->faults[i].amount;
    return 0;
}

/* ---- strikes ---- */
static void swap_halves(unsigned char *data, size_t size) {
    size_t half = size / 2;
    for (size_t i = 0; i < half; i++) {
        unsigned char byte = data[i];
        data[i] = data[size - half + i];
        data[size - half + i] = byte;
    }
}

/* `size` bytes at `data` have come; returns how many of them are passed on, and how often. */
static size_t strike(proxy *p, tunnel *t, int which, unsigned char *data, size_t size,
                     int *copies) {
    way *w = &t->ways[which];
    for (size_t i = 0; i < p->n_faults; i++) {
        fault *f = &p->faults[i];
        if (f->kind < CUT || f->way != which || f->times == 0 || t->struck[i])
            continue;
        uint64_t random = draw(p->seed, t->number, i);
        uint64_t place = f->amount + (f->amount > 0 ? random % f->amount : 0);
        if (place >= w->passed + size)
            continue;
        size_t offset = place > w->passed ? (size_t)(place - w->passed) : 0;
        t->struck[i] = true;
        f->times--;
        printf("%s connection=%llu way=%s byte=%llu\n", kind_names[f->kind],
               (unsigned long long)t->number, which == UP ? "up" : "down",
               (unsigned long long)w->passed + offset);
        fflush(stdout);
        if (f->kind == FLIP)
            data[offset] ^= (unsigned char)(1u << (random >> 60 & 7));
        else if (f->kind == SWAP)
            swap_halves(data, size);
        else if (f->kind == REPEAT)
            *copies = 2;
        else if (f->kind == CUT)
            t->dead = true;
        else if (f->kind == STALL)
            t->stalled = true;
        else {
            size = offset;
            w->ended = true;
        }
    }
    return size;
}

/* ---- one connection ---- */
static void close_tunnel(tunnel *t, bool reset) {
    const struct linger abort_at_once = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 2; i++) {
        if (reset)
            (void)setsockopt(t->fds[i], SOL_SOCKET, SO_LINGER, &abort_at_once,
                             sizeof abort_at_once);
        close(t->fds[i]);
        for (piece *q = t->ways[i].first, *next; q != NULL; q = next) {
            next = q->next;
            free(q);
        }
    }
}

static void add_piece(way *w, const unsigned char *bytes, size_t size, int64_t due_ms) {
    piece *q = size == 0 ? NULL : malloc(sizeof *q + size);
    if (q == NULL)
        return;
    *q = (piece){.due_ms = due_ms, .size = size};
    memcpy(q->data, bytes, size);
    if (w->last != NULL)
        w->last->next = q;
    else
        w->first = q;
    w->last = q;
    w->queued += size;
}

static void take_in(proxy *p, tunnel *t, int which) {
    way          *w = &t->ways[which];
    unsigned char bytes[PIECE];
    ssize_t       n = recv(t->fds[which], bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        w->ended = true;
        t->dead |= n < 0;
        return;
    }
    int    copies = 1;
    size_t size = strike(p, t, which, bytes, (size_t)n, &copies);
    w->passed += (size_t)n;
    while (copies-- > 0)
        add_piece(w, bytes, size, now_ms() + (int64_t)amount_of(p, DELAY));
}

/* How many bytes may go now, by the limit on speed; at most a tenth of a second's worth at once. */
static size_t allowed(const proxy *p, way *w) {
    double  rate = (double)amount_of(p, SLOW);
    int64_t now = now_ms();
    if (rate == 0.0)
        return SIZE_MAX;
    w->allowance += rate * (double)(now - w->filled_ms) / 1000.0;
    w->filled_ms = now;
    if (w->allowance > rate / 10.0)
        w->allowance = rate / 10.0;
    return w->allowance < 1.0 ? 0 : (size_t)w->allowance;
}

static void pass_on(const proxy *p, tunnel *t, int which) {
    way *w = &t->ways[which];
    int  to = t->fds[1 - which];
    while (w->first != NULL && w->first->due_ms <= now_ms()) {
        piece *q = w->first;
        size_t most = allowed(p, w), size = q->size - q->at;
        if (most == 0)
            return;
        ssize_t n = send(to, q->data + q->at, size < most ? size : most, MSG_NOSIGNAL);
        if (n < 0) {
            t->dead |= errno != EAGAIN && errno != EINTR;
            return;
        }
        if (most != SIZE_MAX)
            w->allowance -= (double)n;
        q->at += (size_t)n;
        w->queued -= (size_t)n;
        if (q->at < q->size)
            continue;
        w->first = q->next;
        if (w->first == NULL)
            w->last = NULL;
        free(q);
    }
}

/* ---- all of them ---- */
static bool set_up(int fd) {
    int one = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
           fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

static void welcome(proxy *p) {
    struct sockaddr_in target = loopback(p->target);
    int                client = accept(p->listener, NULL, NULL);
    int                server = socket(AF_INET, SOCK_STREAM, 0);
    if (client < 0 || server < 0 || p->n_tunnels == MAX_TUNNELS ||
        connect(server, (struct sockaddr *)&target, sizeof target) != 0 || !set_up(client) ||
        !set_up(server)) {
        if (client >= 0)
            close(client);
        if (server >= 0)
            close(server);
        return;
    }
    p->tunnels[p->n_tunnels] = (tunnel){.number = ++p->connections, .fds = {client, server}};
    p->tunnels[p->n_tunnels].ways[UP].filled_ms = p->tunnels[p->n_tunnels].ways[DOWN].filled_ms =
        now_ms();
    p->n_tunnels++;
}

/* What to wait for, and for how long. */
static int prepare(const proxy *p, struct pollfd *polled) {
    int timeout = 1000;
    polled[0] = (struct pollfd){.fd = p->listener, .events = POLLIN};
    for (size_t i = 0; i < p->n_tunnels; i++) {
        const tunnel *t = &p->tunnels[i];
        for (int s = 0; s < 2; s++) {
            const way *in = &t->ways[s], *out = &t->ways[1 - s];
            bool       due = out->first != NULL && out->first->due_ms <= now_ms();
            bool       waits = due && amount_of(p, SLOW) > 0 && out->allowance < 1.0;
            short      events = 0;
            if (!in->ended && !t->stalled && in->queued < MOST_QUEUED)
                events |= POLLIN;
            if (due && !waits && !t->stalled)
                events |= POLLOUT;
            if (waits || (out->first != NULL && !due))
                timeout = timeout < 2 ? timeout : 2;
            polled[1 + 2 * i + (size_t)s] =
                (struct pollfd){.fd = events == 0 ? -1 : t->fds[s], .events = events};
        }
    }
    return timeout;
}

static void serve(proxy *p) {
    static const int both[] = {UP, DOWN};
    struct pollfd    polled[1 + 2 * MAX_TUNNELS];
    int              timeout = prepare(p, polled);
    if (poll(polled, (nfds_t)(1 + 2 * p->n_tunnels), timeout) < 0)
        return;
    for (size_t i = p->n_tunnels; i-- > 0;) {
        tunnel *t = &p->tunnels[i];
        for (size_t b = 0; b < 2 && !t->stalled && !t->dead; b++) {
            int which = both[b];
            if ((polled[1 + 2 * i + (size_t)which].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
                !t->ways[which].ended)
                take_in(p, t, which);
        }
        for (size_t b = 0; b < 2 && !t->stalled && !t->dead; b++)
            pass_on(p, t, both[b]);
        bool over = (t->ways[UP].ended && t->ways[UP].first == NULL) ||
                    (t->ways[DOWN].ended && t->ways[DOWN].first == NULL);
        if (t->dead || (over && !t->stalled)) {
            close_tunnel(t, t->dead);
            *t = p->tunnels[--p->n_tunnels];
        }
    }
    if ((polled[0].revents & POLLIN) != 0)
        welcome(p);
}

/* ---- command line ---- */
static bool read_fault(const char *text, fault *out) {
    char    *end;
    size_t   length = strcspn(text, "=");
    unsigned kind = 0;
    while (kind < N_KINDS &&
           (strlen(kind_names[kind]) != length || strncmp(kind_names[kind], text, length) != 0))
        kind++;
    if (kind == N_KINDS || text[length] != '=')
        return false;
    *out = (fault){.kind = (fault_kind)kind, .times = 1};
    out->amount = strtoull(text + length + 1, &end, 10);
    if (strncmp(end, "@down", 5) == 0) {
        out->way = DOWN;
        end += 5;
    } else if (strncmp(end, "@up", 3) == 0) {
        end += 3;
    }
    if (*end == 'x')
        out->times = (unsigned)strtoul(end + 1, &end, 10);
    return *end == '\0';
}

static bool listen_at(proxy *p, uint16_t port) {
    struct sockaddr_in address = loopback(port);
    int                one = 1;
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    return p->listener >= 0 &&
           setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
           bind(p->listener, (struct sockaddr *)&address, sizeof address) == 0 &&
           listen(p->listener, 128) == 0;
}

int main(int argc, char **argv) {
    proxy *p = calloc(1, sizeof *p);
    bool   good = p != NULL && argc >= 4 && argc - 4 <= MAX_FAULTS;
    for (int i = 4; good && i < argc; i++)
        good = read_fault(argv[i], &p->faults[p->n_faults++]);
    if (!good) {
        fprintf(stderr, "usage: fault_proxy LISTEN_PORT TARGET_PORT SEED KIND=AMOUNT[@up|@down]"
                        "[xTIMES]...\n");
        free(p);
        return 2;
    }
    p->target = (uint16_t)strtoul(argv[2], NULL, 10);
    p->seed = strtoull(argv[3], NULL, 10);
    if (!listen_at(p, (uint16_t)strtoul(argv[1], NULL, 10))) {
        fprintf(stderr, "fault_proxy: port %s: %s\n", argv[1], strerror(errno));
        free(p);
        return 1;
    }
    for (;;)
        serve(p);
}
