/* Load generator for bench/: many SMTP sessions from one thread, so that the generator is not what is measured.
 *
 *   gen PORT CORPUS COUNTS letters=N sessions=N per_connection=N users=N domain=D seed=N
 *
 * CORPUS holds letters one after the other, each as a 32-bit length (this machine's byte order) and its bytes, lines ended by
 * CR LF, dots stuffed. Each letter is sent with a Message-ID of its own before it, to one user (u0000@D …) chosen by chance.
 * COUNTS receives, user by user, how many letters were accepted. Prints one line of JSON. IPv4 loopback only. */
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

enum step { GREETING, HELLO, MAIL, RCPT, DATA, LETTER, BYE };

struct session {
    int fd, watching_out, left, user;
    enum step step;
    double started;
    char in[4096];
    size_t in_used;
    char *out;
    size_t out_used, out_sent, out_room;
};

struct letter { uint32_t size; char *bytes; };

static struct letter *corpus;
static uint32_t corpus_size;
static struct sockaddr_in server;
static int poller, alive, per_connection = 1, users = 100;
static long letters = 1000, begun, accepted, refused, broken;
static uint64_t seed = 1;
static const char *domain = "bench.test";
static uint32_t *counts;
static double *waits, first, last;
static char complaint[200];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void stop(const char *what) { perror(what); exit(1); }

static uint64_t chance(void) { /* xorshift64* */
    seed ^= seed >> 12; seed ^= seed << 25; seed ^= seed >> 27;
    return seed * 2685821657736338717ull;
}

static void read_corpus(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) stop(path);
    uint32_t size;
    while (fread(&size, sizeof size, 1, file) == 1) {
        corpus = realloc(corpus, (corpus_size + 1) * sizeof *corpus);
        struct letter *l = &corpus[corpus_size++];
        l->size = size;
        l->bytes = malloc(size);
        if (!corpus || !l->bytes || fread(l->bytes, 1, size, file) != size) stop("corpus");
    }
    fclose(file);
    if (!corpus_size) { fputs("empty corpus\n", stderr); exit(1); }
}

static void say(struct session *s, const char *bytes, size_t size) {
    if (s->out_sent == s->out_used) s->out_sent = s->out_used = 0;
    if (s->out_used + size > s->out_room) {
        s->out_room = 2 * (s->out_used + size);
        s->out = realloc(s->out, s->out_room);
        if (!s->out) stop("memory");
    }
    memcpy(s->out + s->out_used, bytes, size);
    s->out_used += size;
}

static void words(struct session *s, const char *text) { say(s, text, strlen(text)); }

static int push(struct session *s) { /* 0, or -1 when the connection is gone */
    while (s->out_sent < s->out_used) {
        ssize_t sent = send(s->fd, s->out + s->out_sent, s->out_used - s->out_sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ENOTCONN) break;
            return -1;
        }
        s->out_sent += (size_t)sent;
    }
    int more = s->out_sent < s->out_used;
    if (more != s->watching_out) {
        struct epoll_event e = {.events = EPOLLIN | (more ? EPOLLOUT : 0u), .data.ptr = s};
        epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &e);
        s->watching_out = more;
    }
    return 0;
}

static void open_session(struct session *s) {
    if (begun >= letters || broken > 100) { s->fd = -1; alive--; return; }
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (s->fd < 0) stop("socket");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(s->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) stop("connect");
    s->step = GREETING;
    s->left = per_connection;
    s->in_used = s->out_used = s->out_sent = 0;
    s->watching_out = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e);
}

static void close_session(struct session *s) {
    epoll_ctl(poller, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    open_session(s);
}

static void complain(struct session *s, const char *line) {
    if (complaint[0]) return;
    snprintf(complaint, sizeof complaint, "step %d: %.150s", (int)s->step, line);
    for (char *c = complaint; *c; c++) if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = ' ';
}

static void envelope(struct session *s) { /* the next letter's three commands in one write, or QUIT */
    char text[400];
    if (s->left-- <= 0 || begun >= letters) { words(s, "QUIT\r\n"); s->step = BYE; return; }
    begun++;
    s->user = (int)((chance() >> 33) % (uint64_t)users);
    snprintf(text, sizeof text, "MAIL FROM:<nguoi.gui@xa.test>\r\nRCPT TO:<u%04d@%s>\r\nDATA\r\n", s->user, domain);
    words(s, text);
    s->started = now();
    s->step = MAIL;
}

static int reply(struct session *s, const char *line) { /* 0 go on, 1 finished, -1 give the connection up */
    int code = atoi(line);
    if (strlen(line) > 3 && line[3] == '-') return 0;
    switch (s->step) {
    case GREETING:
        if (code != 220) break;
        words(s, "EHLO may.test\r\n");
        s->step = HELLO;
        return 0;
    case HELLO:
        if (code != 250) break;
        envelope(s);
        return 0;
    case MAIL:
    case RCPT:
        if (code != 250) break;
        s->step++;
        return 0;
    case DATA: {
        if (code != 354) break;
        char id[120];
        struct letter *l = &corpus[(chance() >> 33) % corpus_size];
        int size = snprintf(id, sizeof id, "Message-ID: <%llx.%ld@xa.test>\r\n", (unsigned long long)chance(), begun);
        say(s, id, (size_t)size);
        say(s, l->bytes, l->size);
        words(s, ".\r\n");
        s->step = LETTER;
        return 0;
    }
    case LETTER:
        if (code != 250) break;
        last = now();
        waits[accepted++] = last - s->started;
        counts[s->user]++;
        envelope(s);
        return 0;
    case BYE:
        return 1;
    }
    refused++;
    complain(s, line);
    return -1;
}

static int hear(struct session *s) {
    ssize_t got = recv(s->fd, s->in + s->in_used, sizeof s->in - s->in_used - 1, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) {
        if (s->step == BYE) return 1;
        broken++;
        complain(s, "connection lost");
        return -1;
    }
    s->in_used += (size_t)got;
    char *line = s->in, *end = s->in + s->in_used, *newline;
    int result = 0;
    while (!result && (newline = memchr(line, '\n', (size_t)(end - line)))) {
        *newline = 0;
        result = reply(s, line);
        line = newline + 1;
    }
    s->in_used = (size_t)(end - line);
    memmove(s->in, line, s->in_used);
    return result;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    int sessions = 20;
    if (argc < 4) { fputs("gen PORT CORPUS COUNTS key=value …\n", stderr); return 2; }
    for (int i = 4; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) return 2;
        *value++ = 0;
        if (!strcmp(argv[i], "letters")) letters = atol(value);
        else if (!strcmp(argv[i], "sessions")) sessions = atoi(value);
        else if (!strcmp(argv[i], "per_connection")) per_connection = atoi(value);
        else if (!strcmp(argv[i], "users")) users = atoi(value);
        else if (!strcmp(argv[i], "domain")) domain = value;
        else if (!strcmp(argv[i], "seed")) seed = strtoull(value, NULL, 10) * 2654435761u + 1;
        else { fprintf(stderr, "unknown: %s\n", argv[i]); return 2; }
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    read_corpus(argv[2]);
    waits = calloc((size_t)letters + 1, sizeof *waits);
    counts = calloc((size_t)users, sizeof *counts);
    struct session *all = calloc((size_t)sessions, sizeof *all);
    poller = epoll_create1(0);
    if (!waits || !counts || !all || poller < 0) stop("start");
    alive = sessions;
    first = last = now();
    for (int i = 0; i < sessions; i++) open_session(&all[i]);
    struct epoll_event ready[128];
    while (alive > 0) {
        int n = epoll_wait(poller, ready, 128, 60000);
        if (n == 0) { fputs("no answer for 60 s\n", stderr); break; }
        for (int i = 0; i < n; i++) {
            struct session *s = ready[i].data.ptr;
            if (s->fd < 0) continue;
            int result = (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) ? hear(s) : 0;
            if (!result && push(s) < 0) { broken++; result = -1; }
            if (result) close_session(s);
        }
    }
    FILE *file = fopen(argv[3], "w");
    if (!file) stop(argv[3]);
    for (int i = 0; i < users; i++) fprintf(file, "%u\n", counts[i]);
    fclose(file);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
               + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(waits, (size_t)accepted, sizeof *waits, rising);
    double half = accepted ? waits[accepted / 2] * 1e3 : 0, most = accepted ? waits[accepted * 99 / 100] * 1e3 : 0;
    printf("{\"accepted\": %ld, \"refused\": %ld, \"broken\": %ld, \"begun_at\": %.6f, \"last_at\": %.6f, \"p50_ms\": %.2f, "
           "\"p99_ms\": %.2f, \"generator_cpu_s\": %.3f, \"complaint\": \"%s\"}\n",
           accepted, refused, broken, first, last, half, most, cpu, complaint);
    return 0;
}
