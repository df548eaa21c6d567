/* A box's own limit on terminals, where the program that makes the box cannot give it: bubblewrap mounts devpts without
 * options, and a user namespace that has no root in it can neither mount one nor change the one it has. So bubblewrap
 * makes init root of the box's user namespace, and what it would have done next is done here, once devpts has its limit:
 * a second user namespace, in which nobody is root and nobody may do anything to what the first one owns. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

#define FOLDER "/dev/pts"

static void map(const char *path, const char *id) {
    char line[32];
    const int length = snprintf(line, sizeof line, "%s 0 1", id);
    if (length >= (int)sizeof line)
        errno = EINVAL, need(-1, "the box's id", id);
    const int fd = need(open(path, O_WRONLY | O_CLOEXEC), "open", path);
    need((int)write(fd, line, (size_t)length), "write", path);
    close(fd);
}

/* All of them, in every set, for good. */
static void drop_capabilities(void) {
    const struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    for (unsigned long one = 0; prctl(PR_CAPBSET_READ, one, 0, 0, 0) >= 0; one++)
        need(prctl(PR_CAPBSET_DROP, one, 0, 0, 0), "prctl", "PR_CAPBSET_DROP");
    need(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl", "PR_CAP_AMBIENT_CLEAR_ALL");
    need((int)syscall(SYS_capset, &header, none), "capset", "nothing");
}

void limit_terminals(const char *options, const char *id) {
    need(mount(NULL, FOLDER, NULL, MS_REMOUNT | MS_NOSUID | MS_NOEXEC, options), "mount", FOLDER);
    need(unshare(CLONE_NEWUSER), "unshare", "CLONE_NEWUSER");
    map("/proc/self/uid_map", id);
    map("/proc/self/gid_map", id);
    drop_capabilities();
}
