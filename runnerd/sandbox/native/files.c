/* The file work: everything stays beneath one tree, which is held by a descriptor, and symlinks that lead out of it are
 * refused by the kernel. What the box's programs move about meanwhile can make a request fail, never lead it astray. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

#define FOLDER_MODE 0755
#define DELETE_SECONDS 10

static int negative(int result) {
    return result < 0 ? -errno : result;
}

static int open_beneath(int tree, const char *path, int flags, mode_t mode) {
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;
    /* EAGAIN: something was renamed while ".." was resolved. */
    for (int attempt = 0; attempt < 32; attempt++) {
        fd = syscall(SYS_openat2, tree, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return fd < 0 ? -errno : (int)fd;
}

/* Open a folder as O_PATH; where it is missing make it (with `mode`) and its parents. */
static int make_folders(int tree, const char *path, mode_t mode) {
    int folder = open_beneath(tree, path, O_PATH | O_DIRECTORY, 0);
    if (folder != -ENOENT)
        return folder;
    char prefix[PATH_MAX];
    const size_t length = strlen(path);
    if (length == 0)
        return -ENOENT;
    if (length >= sizeof prefix)
        return -ENAMETOOLONG;
    memcpy(prefix, path, length + 1);

    folder = open_beneath(tree, ".", O_PATH | O_DIRECTORY, 0);
    for (char *end = prefix; folder >= 0 && *end;) {
        char *name = end + strspn(end, "/");
        end = name + strcspn(name, "/");
        if (end == name)
            break;
        const char slash = *end;
        const char *rest = end + strspn(end, "/");
        *end = 0;
        int child = open_beneath(tree, prefix, O_PATH | O_DIRECTORY, 0);
        if (child == -ENOENT) {
            if (mkdirat(folder, name, *rest ? FOLDER_MODE : mode) < 0 && errno != EEXIST)
                child = -errno;
            else
                child = open_beneath(tree, prefix, O_PATH | O_DIRECTORY, 0);
        }
        *end = slash;
        close(folder);
        folder = child;
    }
    return folder;
}

static int make_folder(int tree, const char *path, mode_t mode) {
    const int folder = make_folders(tree, path, mode);
    if (folder >= 0)
        close(folder);
    return folder < 0 ? folder : 0;
}

static int write_all(int fd, const char *data, size_t size) {
    while (size) {
        const ssize_t written = write(fd, data, size);
        if (written < 0)
            return -errno;
        data += written;
        size -= (size_t)written;
    }
    return 0;
}

static int copy_all(int to, int from) {
    static char buffer[64 * 1024];
    struct stat status;
    if (fstat(from, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EINVAL;
    for (off_t offset = 0;;) {
        const ssize_t got = pread(from, buffer, sizeof buffer, offset);
        if (got <= 0)
            return negative((int)got);
        const int result = write_all(to, buffer, (size_t)got);
        if (result < 0)
            return result;
        offset += got;
    }
}

static int write_file(int tree, const struct request *request, int source) {
    struct split_path split;
    int result = split_path(request->path, &split);
    if (result < 0)
        return result;
    const int folder = make_folders(tree, split.parent, FOLDER_MODE);
    if (folder < 0)
        return folder;

    static const char ending[] = ".runnerd~";
    char aside[NAME_MAX + 1] = ".";
    size_t length = strlen(split.name);
    if (length > NAME_MAX - sizeof ending)
        length = NAME_MAX - sizeof ending;
    memcpy(aside + 1, split.name, length);
    memcpy(aside + 1 + length, ending, sizeof ending);

    unlinkat(folder, aside, 0);
    int fd = open_beneath(folder, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, request->head.a);
    result = fd < 0 ? fd : source < 0 ? write_all(fd, request->data, request->size) : copy_all(fd, source);
    if (fd >= 0) {
        close(fd);
        if (result == 0)
            result = negative(renameat(folder, aside, folder, split.name));
        if (result < 0)
            unlinkat(folder, aside, 0);
    }
    close(folder);
    return result;
}

static int rename_file(int tree, const struct request *request) {
    struct split_path from, to;
    int result = split_path(request->path, &from);
    if (result == 0)
        result = split_path(request->target, &to);
    if (result < 0)
        return result;
    const int source = open_beneath(tree, from.parent, O_PATH | O_DIRECTORY, 0);
    if (source < 0)
        return source;
    const int target = open_beneath(tree, to.parent, O_PATH | O_DIRECTORY, 0);
    result = target < 0 ? target : negative(renameat(source, from.name, target, to.name));
    close(source);
    if (target >= 0)
        close(target);
    return result;
}

struct scan {
    int fd;
    long size, at;
    alignas(8) char buffer[16 * 1024];
};

/* The next name but "." and ".."; NULL at the end, or with *error set. */
static const char *next_name(struct scan *scan, int *error) {
    for (;;) {
        if (scan->at >= scan->size) {
            scan->at = 0;
            scan->size = syscall(SYS_getdents64, scan->fd, scan->buffer, sizeof scan->buffer);
            if (scan->size <= 0) {
                *error = scan->size < 0 ? -errno : 0;
                return NULL;
            }
        }
        const struct dirent *entry = (const void *)(scan->buffer + scan->at);
        scan->at += entry->d_reclen;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    }
}

/* Begin to read a folder, made writable and searchable if need be: Go's module cache is not. */
static int open_scan(struct scan *scan, int parent, const char *name) {
    scan->size = scan->at = 0;
    scan->fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    if (scan->fd < 0 || fstat(scan->fd, &status) < 0)
        return -errno;
    if ((status.st_mode & 0700) != 0700)
        fchmod(scan->fd, 0700);
    return 0;
}

/* Delete what is not a folder with something in it (-ENOTEMPTY). */
static int delete_entry(int parent, const char *name) {
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return 0;
    return errno == EEXIST ? -ENOTEMPTY : -errno;
}

/* Move a folder up into `top`, under a name that is free there. */
static int hoist(int parent, const char *name, int top) {
    static uint32_t serial;
    static struct scan opened;
    for (;;) {
        char free_name[24];
        char *digit = free_name + sizeof free_name - 1;
        *digit = 0;
        for (uint32_t number = ++serial; number; number /= 10)
            *--digit = (char)('0' + number % 10);
        digit -= 9;
        memcpy(digit, ".runnerd~", 9);
        if (renameat(parent, name, top, digit) == 0)
            return 0;
        if (errno == EACCES && open_scan(&opened, parent, name) == 0) { /* it must be writable itself */
            close(opened.fd);
            if (renameat(parent, name, top, digit) == 0)
                return 0;
        }
        if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR)
            return -errno;
    }
}

/* Delete the entries of top/name; its full folders become entries of `top`. */
static int level(int top, const char *name) {
    static struct scan scan;
    int result = open_scan(&scan, top, name);
    if (result < 0)
        return result;
    const char *entry;
    while (result == 0 && (entry = next_name(&scan, &result))) {
        result = delete_entry(scan.fd, entry);
        if (result == -ENOTEMPTY)
            result = hoist(scan.fd, entry, top);
        if (result == -ENOENT)
            result = 0;
    }
    close(scan.fd);
    if (result == 0)
        unlinkat(top, name, AT_REMOVEDIR); /* if it is not empty yet, the next pass finds it again */
    return result;
}

/* Delete a tree of any depth with two descriptors and no recursion: what lies deeper is moved up, level by level. */
static int delete_tree(int tree, const char *path) {
    static struct scan scan;
    struct split_path split;
    int result = split_path(path, &split);
    if (result < 0)
        return result;
    const int parent = open_beneath(tree, split.parent, O_PATH | O_DIRECTORY, 0);
    if (parent < 0)
        return parent;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const time_t deadline = now.tv_sec + DELETE_SECONDS;

    while ((result = delete_entry(parent, split.name)) == -ENOTEMPTY) {
        result = open_scan(&scan, parent, split.name);
        if (result < 0)
            break;
        const char *entry;
        while (result == 0 && (entry = next_name(&scan, &result))) {
            result = delete_entry(scan.fd, entry);
            if (result == -ENOTEMPTY)
                result = level(scan.fd, entry);
            if (result == -ENOENT)
                result = 0;
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (now.tv_sec > deadline)
                result = -ETIMEDOUT; /* a program fills the folder as fast as it is emptied */
        }
        close(scan.fd);
        if (result < 0)
            break;
    }
    close(parent);
    return result;
}

static void list_folder(int tree, const struct request *request) {
    static struct scan scan;
    static char entries[INIT_MESSAGE_MAX - sizeof(struct init_reply)];
    size_t used = 0;
    int result = 0;
    scan.size = scan.at = 0;
    scan.fd = open_beneath(tree, request->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    if (scan.fd < 0) {
        answer(&request->head, scan.fd, 0, NULL, 0, NULL, 0);
        return;
    }
    const char *name;
    while ((name = next_name(&scan, &result))) {
        struct stat status;
        if (fstatat(scan.fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* gone meanwhile */
        const struct init_entry entry = {(uint64_t)status.st_size, (uint64_t)status.st_mtime, status.st_mode};
        const size_t length = strlen(name) + 1;
        if (sizeof entries - used < sizeof entry + length) {
            answer(&request->head, 0, 1, entries, used, NULL, 0);
            used = 0;
        }
        memcpy(entries + used, &entry, sizeof entry);
        memcpy(entries + used + sizeof entry, name, length);
        used += sizeof entry + length;
    }
    close(scan.fd);
    answer(&request->head, result, 0, entries, result < 0 ? 0 : used, NULL, 0);
}

static int open_file(int tree, const char *path) {
    const int fd = open_beneath(tree, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY, 0);
    struct stat status;
    if (fd < 0)
        return fd;
    if (fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)))
        return fd;
    close(fd);
    return -ENXIO; /* as the kernel says of a socket */
}

void serve_files(int tree, const struct request *request, int fd) {
    int result;
    switch (request->head.op) {
    case INIT_WRITE:
        result = write_file(tree, request, fd);
        break;
    case INIT_MKDIR:
        result = make_folder(tree, request->path, request->head.a);
        break;
    case INIT_RENAME:
        result = rename_file(tree, request);
        break;
    case INIT_DELETE:
        result = delete_tree(tree, request->path);
        break;
    case INIT_LIST:
        list_folder(tree, request);
        return;
    default: {
        result = open_file(tree, request->path);
        answer(&request->head, result < 0 ? result : 0, 0, NULL, 0, &result, result >= 0);
        if (result >= 0)
            close(result);
        return;
    }
    }
    answer(&request->head, result, 0, NULL, 0, NULL, 0);
}
