/* The layers that init puts onto itself, and so onto all that it starts. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

/* Landlock by number: the headers that distributions ship are older than the kernels that run. */
#define SYS_CREATE_RULESET 444
#define SYS_ADD_RULE 445
#define SYS_RESTRICT_SELF 446
#define CREATE_RULESET_VERSION 1U
#define RULE_PATH_BENEATH 1
#define ACCESS_EXECUTE (1ULL << 0)
#define ACCESS_READ_FILE (1ULL << 2)
#define ACCESS_READ_DIR (1ULL << 3)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

struct ruleset {
    uint64_t files, network, scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

int landlock_abi(void) {
    const long abi = syscall(SYS_CREATE_RULESET, NULL, (size_t)0, CREATE_RULESET_VERSION);
    return abi < 0 ? 0 : (int)abi;
}

static int allow_beneath(int ruleset, const char *folder, uint64_t allowed) {
    const int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    const struct path_beneath rule = {allowed, fd};
    const int result = syscall(SYS_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
    close(fd);
    return result;
}

/* Everything may be read and run; only beneath the request's folders may anything be written, made or removed, or a
 * device be controlled (a terminal is a file of /dev/pts). Network rights are left alone: the box's only network is its own
 * loopback. Signals and abstract sockets stay within the box by their namespaces too. */
int restrict_writing(const struct request *request) {
    const int abi = landlock_abi();
    if (abi == 0)
        return 0;
    const int rights = abi == 1 ? 13 : abi == 2 ? 14 : abi < 5 ? 15 : 16;
    const struct ruleset handled = {
        .files = (1ULL << rights) - 1,
        .scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL,
    };
    const size_t known = abi < 4 ? 8 : abi < 6 ? 16 : 24;
    const int ruleset = (int)syscall(SYS_CREATE_RULESET, &handled, known, 0);
    if (ruleset < 0)
        return -errno;
    int result = allow_beneath(ruleset, "/", ACCESS_EXECUTE | ACCESS_READ_FILE | ACCESS_READ_DIR);
    const char *end = request->data + request->size;
    for (const char *folder = request->data; result == 0 && folder < end; folder += strlen(folder) + 1)
        result = allow_beneath(ruleset, folder, handled.files);
    if (result == 0 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_RESTRICT_SELF, ruleset, 0) < 0))
        result = -errno;
    close(ruleset);
    return result;
}

int load_filter(const struct request *request) {
    static struct sock_filter program[BPF_MAXINSNS];
    if (request->size > sizeof program)
        return -EINVAL;
    memcpy(program, request->data, request->size); /* the message does not align it */
    const struct sock_fprog filter = {
        .len = (unsigned short)(request->size / sizeof *program),
        .filter = program,
    };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0 ? -errno : 0;
}
