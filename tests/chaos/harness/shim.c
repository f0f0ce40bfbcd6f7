/* Sees every call that changes or reads files below given folders, and can number, log, fail or
 * kill at any one of them.
 *
 * Loaded by LD_PRELOAD, harmless until chaos_arm() is called. CPython and Arrow reach the disk
 * through these functions only. Not seen: stdio, mmap, truncate(path), stat.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The same numbers stand in shim.py. */
enum kind {
    LOOK = 1, CREATE = 2, READ = 4, WRITE = 8, TRUNCATE = 16, SYNC = 32, RENAME = 64, LINK = 128,
    SYMLINK = 256, UNLINK = 512, RMDIR = 1024, MKDIR = 2048, CLOSE = 4096, LOCK = 8192, LIST = 16384
};
enum mode {
    WATCH, KILL_BEFORE, KILL_AFTER, KILL_HALF, FAIL_ONCE, FAIL_FROM, SHORT_ONCE, SHORT_THEN_FAIL
};
enum act { PASS, FAIL, HALF, HALF_DIE, DIE_AFTER };

#define DESCRIPTORS 65536
#define SELF __attribute__((visibility("default")))
#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

static char roots[8 * PATH_MAX];
static int armed, log_to = -1, hit_to = -1, error_number;
static enum mode mode;
static unsigned mask;
static long at, calls;
static unsigned char tracked[DESCRIPTORS];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

/* `below` is folders joined by ':'. `log_file` and `hit_file` are descriptors or -1: the first gets
 * every successful change with its data, the second the one call that was met. */
SELF void chaos_arm(const char *below, int mode_, unsigned mask_, long at_, int error_, int log_file,
                    int hit_file) {
    snprintf(roots, sizeof roots, "%s", below);
    mode = mode_, mask = mask_, at = at_, error_number = error_;
    log_to = log_file, hit_to = hit_file, calls = 0, armed = 1;
}

SELF long chaos_calls(void) { return __atomic_load_n(&calls, __ATOMIC_SEQ_CST); }

static int below(const char *path) {
    if (!armed || !path) return 0;
    for (const char *root = roots; *root;) {
        size_t length = strcspn(root, ":");
        if (!strncmp(path, root, length) && (path[length] == '/' || !path[length])) return 1;
        root += length + (root[length] == ':');
    }
    return 0;
}

/* `path` as an absolute one, in `to`. */
static const char *whole(int folder, const char *path, char *to) {
    char base[PATH_MAX] = "";
    if (!path || path[0] == '/') return path;
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return path;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return path;
        base[length] = 0;
    }
    snprintf(to, 2 * PATH_MAX, "%s/%s", base, path);
    return to;
}

static void raw(int to, const void *data, size_t length) {
    static __typeof__(write) *real;
    if (!real) real = dlsym(RTLD_NEXT, "write");
    for (const char *from = data; length;) {
        ssize_t written = real(to, from, length);
        if (written <= 0) abort();
        from += written, length -= written;
    }
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static enum act meet(enum kind kind, const char *path) {
    if (!(mask & kind)) return PASS;
    long number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (mode == WATCH || number < at) return PASS;
    if (number > at) return mode == FAIL_FROM || mode == SHORT_THEN_FAIL ? FAIL : PASS;
    if (hit_to >= 0) {
        char text[2 * PATH_MAX];
        raw(hit_to, text, snprintf(text, sizeof text, "%d\t%s\n", kind, path));
    }
    switch (mode) {
    case KILL_AFTER: return DIE_AFTER;
    case KILL_HALF: if (kind == WRITE) return HALF_DIE; /* fall through */
    case KILL_BEFORE: die(); /* fall through */
    case SHORT_ONCE: case SHORT_THEN_FAIL: return kind == WRITE ? HALF : PASS;
    default: return FAIL;
    }
}

/* Calls that are logged are also put into one order, that of the log. */
static void begin(void) { if (log_to >= 0) pthread_mutex_lock(&order); }

static void end(enum act act, int done, const char *name, int file, long long number,
                const char *path, const char *other, const void *data, size_t length) {
    int kept = errno;
    if (log_to >= 0) {
        if (done && name) {
            char head[4 * PATH_MAX];
            int size = snprintf(head, sizeof head, "%s\t%d\t%lld\t%s\t%s\t%zu\n", name, file, number,
                                path ? path : "", other ? other : "", length);
            raw(log_to, head, size);
            raw(log_to, data, length);
        }
        pthread_mutex_unlock(&order);
    }
    if (act == DIE_AFTER || act == HALF_DIE) die();
    errno = kept;
}

static int failed(void) { errno = error_number; return -1; }

static const char *named(int file, char *to) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, to, PATH_MAX - 1);
    to[length < 0 ? 0 : length] = 0;
    return to;
}

static int is_tracked(int file) { return armed && file >= 0 && file < DESCRIPTORS && tracked[file]; }

/* A call on a path, or on two. */
#define ON_PATHS(kind, label, folder, path, folder2, path2, call)                                \
    char one_[2 * PATH_MAX], two_[2 * PATH_MAX];                                                 \
    const char *first_ = whole(folder, path, one_), *second_ = whole(folder2, path2, two_);      \
    if (!below(first_) && !below(second_)) return call;                                          \
    begin();                                                                                     \
    enum act act_ = meet(kind, second_ ? second_ : first_);                                      \
    int done_ = act_ == FAIL ? failed() : call;                                                  \
    end(act_, done_ >= 0, label, -1, 0, first_, second_, 0, 0);                                  \
    return done_

/* A call on an open file. */
#define ON_FILE(kind, label, file, number, call)                                                 \
    if (!is_tracked(file)) return call;                                                          \
    char name_[PATH_MAX];                                                                        \
    begin();                                                                                     \
    enum act act_ = meet(kind, named(file, name_));                                              \
    __typeof__(call) done_ = act_ == FAIL ? failed() : call;                                     \
    end(act_, done_ >= 0, label, file, number, 0, 0, 0, 0);                                      \
    return done_

/* ---- opening and closing ---- */

#define OPEN_BODY(folder, call)                                                                  \
    mode_t bits = 0;                                                                             \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                       \
        va_list rest;                                                                            \
        va_start(rest, flags);                                                                   \
        bits = va_arg(rest, mode_t);                                                             \
        va_end(rest);                                                                            \
    }                                                                                            \
    char full_[2 * PATH_MAX];                                                                    \
    const char *path_ = whole(folder, path, full_);                                              \
    if (!below(path_)) return call;                                                              \
    begin();                                                                                     \
    int writes_ = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);                \
    enum act act_ = meet(writes_ ? CREATE : LOOK, path_);                                        \
    int file_ = act_ == FAIL ? failed() : call;                                                  \
    if (file_ >= 0 && file_ < DESCRIPTORS) tracked[file_] = 1;                                   \
    end(act_, file_ >= 0, "open", file_, flags, path_, 0, 0, 0);                                 \
    return file_

SELF int open(const char *path, int flags, ...) { REAL(open); OPEN_BODY(AT_FDCWD, real(path, flags, bits)); }
SELF int open64(const char *path, int flags, ...) { REAL(open64); OPEN_BODY(AT_FDCWD, real(path, flags, bits)); }
SELF int openat(int folder, const char *path, int flags, ...) { REAL(openat); OPEN_BODY(folder, real(folder, path, flags, bits)); }
SELF int openat64(int folder, const char *path, int flags, ...) { REAL(openat64); OPEN_BODY(folder, real(folder, path, flags, bits)); }
SELF int creat(const char *path, mode_t bits) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, bits); }
SELF int creat64(const char *path, mode_t bits) { return open64(path, O_CREAT | O_WRONLY | O_TRUNC, bits); }

SELF int close(int file) {
    REAL(close);
    if (!is_tracked(file)) return real(file);
    char name_[PATH_MAX];
    begin();
    enum act act_ = meet(CLOSE, named(file, name_));
    tracked[file] = 0;
    int done_ = real(file);
    if (act_ == FAIL) done_ = failed();
    end(act_, 1, "close", file, 0, 0, 0, 0, 0);
    return done_;
}

SELF DIR *opendir(const char *path) {
    REAL(opendir);
    char full_[2 * PATH_MAX];
    const char *path_ = whole(AT_FDCWD, path, full_);
    if (below(path_) && meet(LIST, path_) == FAIL) return failed(), NULL;
    return real(path);
}

SELF DIR *fdopendir(int file) {
    REAL(fdopendir);
    char name_[PATH_MAX];
    if (is_tracked(file) && meet(LIST, named(file, name_)) == FAIL) return failed(), NULL;
    return real(file);
}

/* ---- content ---- */

#define WRITE_BODY(file, data, size, offset, call_half)                                          \
    char name_[PATH_MAX];                                                                        \
    begin();                                                                                     \
    enum act act_ = meet(WRITE, named(file, name_));                                             \
    off_t where_ = offset;                                                                       \
    size_t length_ = act_ == HALF || act_ == HALF_DIE ? ((size) + 1) / 2 : (size);               \
    ssize_t done_ = act_ == FAIL ? failed() : call_half;                                         \
    end(act_, done_ > 0, "write", file, where_, 0, 0, data, done_ > 0 ? done_ : 0);              \
    return done_

static off_t position(int file) {
    struct stat found;
    if (fcntl(file, F_GETFL) & O_APPEND && !fstat(file, &found)) return found.st_size;
    return lseek(file, 0, SEEK_CUR);
}

SELF ssize_t write(int file, const void *data, size_t size) {
    REAL(write);
    if (!is_tracked(file)) return real(file, data, size);
    WRITE_BODY(file, data, size, position(file), real(file, data, length_));
}
SELF ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    if (!is_tracked(file)) return real(file, data, size, offset);
    WRITE_BODY(file, data, size, offset, real(file, data, length_, offset));
}
SELF ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) { return pwrite(file, data, size, offset); }

/* The first piece only: a short write, which callers must be ready for. */
SELF ssize_t writev(int file, const struct iovec *pieces, int count) {
    REAL(writev);
    if (!is_tracked(file)) return real(file, pieces, count);
    return count ? write(file, pieces[0].iov_base, pieces[0].iov_len) : 0;
}

/* Callers fall back to read and write, so that the log has the bytes. */
SELF ssize_t copy_file_range(int from, off64_t *offset, int to, off64_t *offset2, size_t size, unsigned flags) {
    REAL(copy_file_range);
    if (is_tracked(to)) return errno = ENOSYS, -1;
    return real(from, offset, to, offset2, size, flags);
}
SELF ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "sendfile64");
    if (is_tracked(to)) return errno = ENOSYS, -1;
    return real(to, from, offset, size);
}

SELF ssize_t read(int file, void *data, size_t size) { REAL(read); ON_FILE(READ, NULL, file, 0, real(file, data, size)); }
SELF ssize_t pread(int file, void *data, size_t size, off_t offset) { REAL(pread); ON_FILE(READ, NULL, file, 0, real(file, data, size, offset)); }
SELF ssize_t pread64(int file, void *data, size_t size, off64_t offset) { REAL(pread64); ON_FILE(READ, NULL, file, 0, real(file, data, size, offset)); }
SELF ssize_t readv(int file, const struct iovec *pieces, int count) { REAL(readv); ON_FILE(READ, NULL, file, 0, real(file, pieces, count)); }
SELF int ftruncate(int file, off_t size) { REAL(ftruncate); ON_FILE(TRUNCATE, "truncate", file, size, real(file, size)); }
SELF int ftruncate64(int file, off64_t size) { REAL(ftruncate64); ON_FILE(TRUNCATE, "truncate", file, size, real(file, size)); }
SELF int fsync(int file) { REAL(fsync); ON_FILE(SYNC, "sync", file, 0, real(file)); }
SELF int fdatasync(int file) { REAL(fdatasync); ON_FILE(SYNC, "sync", file, 0, real(file)); }
SELF int flock(int file, int how) { REAL(flock); ON_FILE(LOCK, NULL, file, 0, real(file, how)); }

/* ---- names ---- */

SELF int rename(const char *a, const char *b) { REAL(rename); ON_PATHS(RENAME, "rename", AT_FDCWD, a, AT_FDCWD, b, real(a, b)); }
SELF int renameat(int f, const char *a, int g, const char *b) { REAL(renameat); ON_PATHS(RENAME, "rename", f, a, g, b, real(f, a, g, b)); }
SELF int renameat2(int f, const char *a, int g, const char *b, unsigned flags) {
    REAL(renameat2);
    const char *label = flags & RENAME_EXCHANGE ? "exchange" : "rename";
    ON_PATHS(RENAME, label, f, a, g, b, real(f, a, g, b, flags));
}
SELF int link(const char *a, const char *b) { REAL(link); ON_PATHS(LINK, "link", AT_FDCWD, a, AT_FDCWD, b, real(a, b)); }
SELF int linkat(int f, const char *a, int g, const char *b, int flags) { REAL(linkat); ON_PATHS(LINK, "link", f, a, g, b, real(f, a, g, b, flags)); }
SELF int unlink(const char *a) { REAL(unlink); ON_PATHS(UNLINK, "unlink", AT_FDCWD, a, AT_FDCWD, NULL, real(a)); }
SELF int rmdir(const char *a) { REAL(rmdir); ON_PATHS(RMDIR, "rmdir", AT_FDCWD, a, AT_FDCWD, NULL, real(a)); }
SELF int mkdir(const char *a, mode_t bits) { REAL(mkdir); ON_PATHS(MKDIR, "mkdir", AT_FDCWD, a, AT_FDCWD, NULL, real(a, bits)); }
SELF int mkdirat(int f, const char *a, mode_t bits) { REAL(mkdirat); ON_PATHS(MKDIR, "mkdir", f, a, AT_FDCWD, NULL, real(f, a, bits)); }
SELF int unlinkat(int f, const char *a, int flags) {
    REAL(unlinkat);
    int folder = flags & AT_REMOVEDIR;
    ON_PATHS(folder ? RMDIR : UNLINK, folder ? "rmdir" : "unlink", f, a, AT_FDCWD, NULL, real(f, a, flags));
}

/* The target of a symbolic link is text: only the link itself is a path. */
#define SYMLINK_BODY(folder, call)                                                               \
    char full_[2 * PATH_MAX];                                                                    \
    const char *path_ = whole(folder, b, full_);                                                 \
    if (!below(path_)) return call;                                                              \
    begin();                                                                                     \
    enum act act_ = meet(SYMLINK, path_);                                                        \
    int done_ = act_ == FAIL ? failed() : call;                                                  \
    end(act_, done_ >= 0, "symlink", -1, 0, a, path_, 0, 0);                                     \
    return done_

SELF int symlink(const char *a, const char *b) { REAL(symlink); SYMLINK_BODY(AT_FDCWD, real(a, b)); }
SELF int symlinkat(const char *a, int g, const char *b) { REAL(symlinkat); SYMLINK_BODY(g, real(a, g, b)); }
