/* Mixed IMAP load for bench/: many people at work from one thread, so that the generator is not what is measured.
 *
 *   mix PORT CORPUS clients=N first=N seconds=N operations=N domain=D password=P seed=N
 *
 * Each client has a mailbox of its own (u%04d@D from `first` on): LOGIN, SELECT INBOX, so many operations chosen by chance
 * (30 % FETCH of ten envelopes, 20 % FETCH of a body, 30 % STORE, 10 % APPEND of a letter of CORPUS, the rest EXPUNGE,
 * STATUS and SEARCH), LOGOUT, and again. CORPUS as for gen.c; its letters hold no line that begins with a tag of ours. Prints
 * one line of JSON. IPv4 loopback only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum kind { GREETING, LOGIN, SELECT, FETCH, BODY, STORE, APPEND, EXPUNGE, STATUS, SEARCH, LOGOUT, KINDS };
static const char *names[KINDS] = {"greeting", "login", "select", "fetch", "body", "store", "append", "expunge", "status",
                                   "search", "logout"};

struct client {
    int fd, user, watching_out, left;
    enum kind kind;
    unsigned number, exists;
    uint64_t chance;
    double started;
    char line[512]; /* the beginning of the line that is being received */
    size_t length;
    char *out;
    size_t out_used, out_sent, out_room;
};

struct letter { uint32_t size; char *bytes; };
struct waits { double *values; size_t count, room; };

static struct letter *corpus;
static uint32_t corpus_size;
static struct sockaddr_in server;
static int poller, operations = 50;
static const char *domain = "bench.test", *password = "";
static struct waits of[KINDS], all;
static char complaint[200];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void stop(const char *what) { perror(what); exit(1); }

static uint64_t chance(struct client *c) { /* xorshift64* */
    c->chance ^= c->chance >> 12; c->chance ^= c->chance << 25; c->chance ^= c->chance >> 27;
    return (c->chance * 2685821657736338717ull) >> 33;
}

static void note(struct waits *w, double value) {
    if (w->count == w->room) {
        w->room = w->room ? 2 * w->room : 4096;
        w->values = realloc(w->values, w->room * sizeof *w->values);
        if (!w->values) stop("memory");
    }
    w->values[w->count++] = value;
}

static void read_corpus(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) stop(path);
    uint32_t size;
    while (fread(&size, sizeof size, 1, file) == 1) {
        corpus = realloc(corpus, (corpus_size + 1) * sizeof *corpus);
        if (!corpus) stop("memory");
        struct letter *l = &corpus[corpus_size++];
        l->size = size;
        l->bytes = malloc(size);
        if (!l->bytes || fread(l->bytes, 1, size, file) != size) stop("corpus");
    }
    fclose(file);
    if (!corpus_size) { fputs("empty corpus\n", stderr); exit(1); }
}

static void say(struct client *c, const char *bytes, size_t size) {
    if (c->out_sent == c->out_used) c->out_sent = c->out_used = 0;
    if (c->out_used + size > c->out_room) {
        c->out_room = 2 * (c->out_used + size);
        c->out = realloc(c->out, c->out_room);
        if (!c->out) stop("memory");
    }
    memcpy(c->out + c->out_used, bytes, size);
    c->out_used += size;
}

static int push(struct client *c) { /* 0, or -1 when the connection is gone */
    while (c->out_sent < c->out_used) {
        ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_used - c->out_sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) break;
            return -1;
        }
        c->out_sent += (size_t)sent;
    }
    int more = c->out_sent < c->out_used;
    if (more != c->watching_out) {
        struct epoll_event e = {.events = EPOLLIN | (more ? EPOLLOUT : 0u), .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
        c->watching_out = more;
    }
    return 0;
}

static void connect_to(struct client *c) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) stop("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) stop("connect");
    c->kind = GREETING;
    c->left = operations;
    c->length = c->out_used = c->out_sent = 0;
    c->watching_out = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

static void command(struct client *c, enum kind kind) {
    char text[400];
    unsigned some = c->exists ? 1 + (unsigned)(chance(c) % c->exists) : 0;
    unsigned last = some + 9 < c->exists ? some + 9 : c->exists;
    struct letter *l = &corpus[chance(c) % corpus_size];
    if (!some && (kind == FETCH || kind == BODY || kind == STORE)) kind = APPEND;
    c->kind = kind;
    int size = snprintf(text, sizeof text, "zq%u ", ++c->number);
    char *at = text + size;
    size_t room = sizeof text - (size_t)size;
    switch (kind) {
    case LOGIN: snprintf(at, room, "LOGIN \"u%04d@%s\" \"%s\"\r\n", c->user, domain, password); break;
    case SELECT: snprintf(at, room, "SELECT INBOX\r\n"); break;
    case FETCH: snprintf(at, room, "FETCH %u:%u (UID FLAGS ENVELOPE)\r\n", some, last); break;
    case BODY: snprintf(at, room, "FETCH %u BODY.PEEK[]\r\n", some); break;
    case STORE: {
        const char *what = chance(c) % 4 ? (chance(c) % 2 ? "+FLAGS (\\Seen)" : "-FLAGS (\\Seen)") : "+FLAGS (\\Deleted)";
        snprintf(at, room, "STORE %u %s\r\n", some, what);
        break;
    }
    case APPEND: snprintf(at, room, "APPEND INBOX {%u+}\r\n", l->size); break;
    case EXPUNGE: snprintf(at, room, "EXPUNGE\r\n"); break;
    case STATUS: snprintf(at, room, "STATUS INBOX (MESSAGES UNSEEN)\r\n"); break;
    case SEARCH: snprintf(at, room, "SEARCH UNSEEN\r\n"); break;
    default: snprintf(at, room, "LOGOUT\r\n");
    }
    say(c, text, strlen(text));
    if (kind == APPEND) { say(c, l->bytes, l->size); say(c, "\r\n", 2); }
    c->started = now();
}

static void next(struct client *c) {
    if (c->left-- <= 0) { command(c, LOGOUT); return; }
    unsigned n = (unsigned)(chance(c) % 100);
    command(c, n < 30 ? FETCH : n < 50 ? BODY : n < 80 ? STORE : n < 90 ? APPEND : n < 93 ? EXPUNGE : n < 97 ? STATUS : SEARCH);
}

static void heard(struct client *c) { /* one line, or its beginning */
    unsigned number;
    char word[16];
    c->line[c->length] = 0;
    if (c->kind == GREETING) { command(c, LOGIN); return; }
    if (c->line[0] == '*' && sscanf(c->line, "* %u %15s", &number, word) == 2) {
        if (!strcmp(word, "EXISTS")) c->exists = number;
        else if (!strcmp(word, "EXPUNGE") && c->exists) c->exists--;
    }
    if (sscanf(c->line, "zq%u %15s", &number, word) != 2 || number != c->number) return;
    if (strcmp(word, "OK") && !complaint[0]) {
        snprintf(complaint, sizeof complaint, "%s: %.150s", names[c->kind], c->line);
        for (char *x = complaint; *x; x++) if (*x == '"' || *x == '\\' || (unsigned char)*x < ' ') *x = ' ';
    }
    double wait = now() - c->started;
    note(&of[c->kind], wait);
    note(&all, wait);
    if (c->kind == LOGIN) command(c, SELECT);
    else if (c->kind != LOGOUT) next(c);
    else { /* the server closes, or has closed */
        epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
        close(c->fd);
        connect_to(c);
    }
}

static int hear(struct client *c) {
    static char in[262144];
    int fd = c->fd;
    ssize_t got = recv(fd, in, sizeof in, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) return -1;
    char *at = in, *end = in + got;
    while (at < end) {
        char *newline = memchr(at, '\n', (size_t)(end - at)), *stop_at = newline ? newline : end;
        size_t size = (size_t)(stop_at - at), room = sizeof c->line - 1 - c->length;
        memcpy(c->line + c->length, at, size < room ? size : room);
        c->length += size < room ? size : room;
        if (newline) {
            heard(c);
            c->length = 0;
            if (c->fd != fd || c->kind == GREETING) return 0; /* a new connection */
        }
        at = stop_at + 1;
    }
    return 0;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double share(struct waits *w, unsigned percent) { /* milliseconds; sorts on the way */
    if (!w->count) return 0;
    qsort(w->values, w->count, sizeof *w->values, rising);
    return w->values[w->count * percent / 100] * 1e3;
}

int main(int argc, char **argv) {
    int clients = 100, first = 0, seconds = 10;
    uint64_t seed = 1;
    if (argc < 3) { fputs("mix PORT CORPUS key=value …\n", stderr); return 2; }
    for (int i = 3; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) return 2;
        *value++ = 0;
        if (!strcmp(argv[i], "clients")) clients = atoi(value);
        else if (!strcmp(argv[i], "first")) first = atoi(value);
        else if (!strcmp(argv[i], "seconds")) seconds = atoi(value);
        else if (!strcmp(argv[i], "operations")) operations = atoi(value);
        else if (!strcmp(argv[i], "domain")) domain = value;
        else if (!strcmp(argv[i], "password")) password = value;
        else if (!strcmp(argv[i], "seed")) seed = strtoull(value, NULL, 10);
        else { fprintf(stderr, "unknown: %s\n", argv[i]); return 2; }
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    read_corpus(argv[2]);
    struct client *people = calloc((size_t)clients, sizeof *people);
    poller = epoll_create1(0);
    if (!people || poller < 0) stop("start");
    double begun = now(), end = begun + seconds;
    for (int i = 0; i < clients; i++) {
        people[i].user = first + i;
        people[i].chance = (seed * 1000 + (uint64_t)i + 1) * 2654435761u;
        connect_to(&people[i]);
    }
    struct epoll_event ready[128];
    while (now() < end && !complaint[0]) {
        int n = epoll_wait(poller, ready, 128, 1000);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            int result = (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) ? hear(c) : 0;
            if (!result) result = push(c);
            if (result < 0 && !complaint[0]) snprintf(complaint, sizeof complaint, "connection lost in %s", names[c->kind]);
            if (result < 0) break;
        }
    }
    double took = now() - begun;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
               + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"commands\": %zu, \"seconds\": %.3f, \"p50_ms\": %.2f, \"p95_ms\": %.2f, \"p99_ms\": %.2f, \"generator_cpu_s\": %.3f",
           all.count, took, share(&all, 50), share(&all, 95), share(&all, 99), cpu);
    for (int k = LOGIN; k < KINDS; k++) printf(", \"%s_ms\": %.2f", names[k], share(&of[k], 50));
    printf(", \"complaint\": \"%s\"}\n", complaint);
    return 0;
}
