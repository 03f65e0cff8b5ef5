/* A disk that fails now and then, for the soak: put before libc by LD_PRELOAD, it lets calls on files below one folder
 * fail by chance. SOAK_FAULTS names a file that is mapped by every process: the soak writes there what shall fail, and
 * reads how often it did. All processes follow at once; nothing in the program knows of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, SYNC, READ, KINDS };

struct control {
    uint32_t chance[KINDS]; /* of a million calls */
    int32_t error[KINDS];
    uint64_t failed[KINDS];
    char folder[512];
};

static struct control *control;
static __thread uint64_t state;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SOAK_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) control = at;
}

static uint64_t draw(void) {
    if (!state) state = ((uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&state) | 1;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static int below(int fd) {
    char name[64], path[1024];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    struct stat about;
    return strncmp(path, control->folder, strlen(control->folder)) == 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

static int chance(int kind) { return control && control->chance[kind] && draw() % 1000000 < control->chance[kind]; }

static int fails(int kind) {
    errno = control->error[kind];
    __atomic_add_fetch(&control->failed[kind], 1, __ATOMIC_RELAXED);
    return -1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* Of the writes that are to fail every other one is cut short instead, as a full disk does. */
ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (chance(WRITE) && below(fd)) {
        if (size < 2 || draw() & 64) return fails(WRITE);
        size /= 2;
    }
    return real(fd, data, size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    if (chance(WRITE) && below(fd)) {
        if (size < 2 || draw() & 64) return fails(WRITE);
        size /= 2;
    }
    return real(fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (chance(WRITE) && below(fd)) {
        if (count < 2 || draw() & 64) return fails(WRITE);
        count /= 2;
    }
    return real(fd, parts, count);
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, ftruncate64, int, off64_t);
    return chance(WRITE) && below(fd) ? fails(WRITE) : real(fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int fsync(int fd) {
    REAL(int, fsync, int);
    return chance(SYNC) && below(fd) ? fails(SYNC) : real(fd);
}
int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return chance(SYNC) && below(fd) ? fails(SYNC) : real(fd);
}
ssize_t read(int fd, void *data, size_t size) {
    REAL(ssize_t, read, int, void *, size_t);
    return chance(READ) && below(fd) ? fails(READ) : real(fd, data, size);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    return chance(READ) && below(fd) ? fails(READ) : real(fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) { return pread64(fd, data, size, at); }
