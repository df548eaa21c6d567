#define _GNU_SOURCE
#include "mounts.h"

#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>

int runnerd_private_mounts(void) {
    if (unshare(CLONE_NEWNS) < 0)
        return -1;
    return mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
}

int runnerd_mount_tmpfs(const char *target) {
    return mount("runnerd", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64m");
}

int runnerd_overlay(const char *options, const char *target) {
    return mount("runnerd", target, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV, options);
}

int runnerd_bind(const char *source, const char *target) {
    return mount(source, target, NULL, MS_BIND | MS_REC, NULL);
}
