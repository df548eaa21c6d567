"""Writes the C source of runnerd.sandbox._native: `python build_ffi.py OUTPUT.c`."""

import sys
from pathlib import Path

from cffi import FFI

ffi = FFI()
ffi.cdef("""
struct runnerd_spawn {
    const char *path;
    char *const *argv;
    char *const *envp;
    const int *fds;
    int nfds;
    long uid;
    int cgroup;
    unsigned long slice;
    int pidfd;
    const char *failed;
};
int runnerd_spawn(struct runnerd_spawn *request);
int runnerd_slice(unsigned long nanoseconds);
int runnerd_private_mounts(void);
int runnerd_mount_tmpfs(const char *target);
int runnerd_overlay(const char *options, const char *target);
int runnerd_bind(const char *source, const char *target);
int inotify_init1(int flags);
int inotify_add_watch(int fd, const char *path, uint32_t mask);
int inotify_rm_watch(int fd, int watch);
""")
ffi.set_source(
    "runnerd.sandbox._native",
    '#include <sys/inotify.h>\n#include "spawn.h"\n#include "mounts.h"\n#include "slice.h"\n',
)

if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    ffi.emit_c_code(str(output))
