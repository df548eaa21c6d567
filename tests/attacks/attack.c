/* Tries one attack, named by its argument, and prints what the kernel said: "RESULT ERRNO". A result of -2 says that the
 * attack's own preparation failed. With --unprivileged before the name it first takes
 * stdin as its terminal, and root becomes nobody. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct sock_filter allow_all[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
static struct sock_fprog program = {1, allow_all};

static long forked(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}

/* A socket with a filter of its own. */
static long filtered(int option) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), yes = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes))
        return -2;
    return setsockopt(fd, SOL_SOCKET, option, &program, sizeof program);
}

/* A mount namespace of its own, in which the program has every capability. */
static int alone(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0; }

/* A pipe with one byte in it. */
static int filled(int ends[2]) { return pipe(ends) == 0 && write(ends[1], "x", 1) == 1; }

static long attempt(const char *name) {
    char buffer[256] = {0};
    int ends[2], more[2];
#define IS(word) (strcmp(name, word) == 0)
    if (IS("tiocsti")) return syscall(SYS_ioctl, 0, (long)TIOCSTI, "x");
    if (IS("tiocsti-high")) return syscall(SYS_ioctl, 0, (long)TIOCSTI | 1L << 32, "x");
    if (IS("tioclinux")) return syscall(SYS_ioctl, 0, 0x541cL, "\3");
    if (IS("socket-filter")) return filtered(SO_ATTACH_FILTER);
    if (IS("socket-filter-reuseport")) return filtered(SO_ATTACH_REUSEPORT_CBPF);
    if (IS("unshare")) return unshare(CLONE_NEWUSER);
    if (IS("clone-newuser")) return forked(CLONE_NEWUSER);
    if (IS("clone-newtime")) return forked(0x80 /* CLONE_NEWTIME shares bits with the exit signal */);
    if (IS("clone3")) {
        unsigned long long arguments[11] = {[4] = SIGCHLD};
        long pid = syscall(SYS_clone3, arguments, sizeof arguments);
        if (pid == 0)
            _exit(0);
        return pid;
    }
    if (IS("setns")) return syscall(SYS_setns, open("/proc/self/ns/user", O_RDONLY), 0);
#define ALONE(call) (alone() ? (long)(call) : -2)
    if (IS("mount")) return ALONE(mount("x", "/tmp", "tmpfs", 0, ""));
    if (IS("umount2")) return ALONE(umount2("/nosuch", 0));
    if (IS("pivot_root")) return ALONE(syscall(SYS_pivot_root, "/nosuch", "/nosuch"));
    if (IS("chroot")) return ALONE(chroot("/tmp"));
    if (IS("move_mount")) return ALONE(syscall(SYS_move_mount, AT_FDCWD, "/nosuch", AT_FDCWD, "/nosuch", 0));
    if (IS("open_tree")) return ALONE(syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1 /* OPEN_TREE_CLONE */));
    if (IS("fsopen")) return ALONE(syscall(SYS_fsopen, "tmpfs", 0));
    if (IS("fsconfig")) return ALONE(syscall(SYS_fsconfig, -1, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0));
    if (IS("fsmount")) return ALONE(syscall(SYS_fsmount, -1, 0, 0));
    if (IS("fspick")) return ALONE(syscall(SYS_fspick, AT_FDCWD, "/nosuch", 0));
    buffer[0] = 1; /* MOUNT_ATTR_RDONLY */
    if (IS("mount_setattr")) return ALONE(syscall(SYS_mount_setattr, AT_FDCWD, "/nosuch", 0, buffer, 32));
    if (IS("clone-newns")) return ALONE(forked(CLONE_NEWNS));
    if (IS("clone-newcgroup")) return ALONE(forked(CLONE_NEWCGROUP));
    if (IS("clone-newuts")) return ALONE(forked(CLONE_NEWUTS));
    if (IS("clone-newipc")) return ALONE(forked(CLONE_NEWIPC));
    if (IS("clone-newpid")) return ALONE(forked(CLONE_NEWPID));
    if (IS("clone-newnet")) return ALONE(forked(CLONE_NEWNET));
    if (IS("ptrace")) return ptrace(PTRACE_TRACEME, 0, 0, 0);
    if (IS("process_vm_readv")) {
        struct iovec from = {name ? buffer : 0, 8}, to = {buffer + 8, 8};
        return syscall(SYS_process_vm_readv, getpid(), &to, 1, &from, 1, 0);
    }
    if (IS("process_vm_writev")) {
        struct iovec from = {buffer, 8}, to = {buffer + 8, 8};
        return syscall(SYS_process_vm_writev, getpid(), &from, 1, &to, 1, 0);
    }
    if (IS("pidfd_getfd")) return syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 1, 0);
    if (IS("keyctl")) return syscall(SYS_keyctl, 0, -3, 1);
    if (IS("add_key")) return syscall(SYS_add_key, "user", "x", "x", 1, -2);
    /* Not one of the commands that the kernel refuses to the unprivileged before it looks at anything. */
    if (IS("bpf")) return syscall(SYS_bpf, 7 /* BPF_OBJ_GET */, buffer, 0xffff);
    if (IS("perf_event_open")) return syscall(SYS_perf_event_open, 0, 0, -1, -1, 0);
    if (IS("userfaultfd")) return syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */);
    if (IS("io_uring")) return syscall(SYS_io_uring_setup, 1, buffer);
    if (IS("name_to_handle_at")) return syscall(SYS_name_to_handle_at, AT_FDCWD, ".", buffer, buffer + 128, 0);
    if (IS("open_by_handle_at")) return syscall(SYS_open_by_handle_at, AT_FDCWD, buffer, O_RDONLY);
    if (IS("personality")) return syscall(SYS_personality, 0x0400000L /* READ_IMPLIES_EXEC */);
    if (IS("x32")) return syscall(0x40000000L | SYS_getpid);
#ifdef __x86_64__
    if (IS("i386")) {
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
        return result;
    }
#endif
    if (IS("vsock")) return socket(40, SOCK_STREAM, 0);
    if (IS("vsock-pair")) return socketpair(40, SOCK_STREAM, 0, ends);
    if (IS("mptcp")) return socket(AF_INET, SOCK_STREAM, 262);
    if (IS("packet")) return socket(AF_PACKET, SOCK_RAW, 0);
    if (IS("alg")) return socket(38, SOCK_SEQPACKET, 0);
    if (IS("netlink-generic")) return socket(AF_NETLINK, SOCK_RAW, 16);
    if (IS("netlink-route")) return socket(AF_NETLINK, SOCK_RAW, 0);
    if (IS("prlimit-init")) {
        struct rlimit limit = {16, 16};
        return prlimit(1, RLIMIT_NOFILE, &limit, NULL);
    }
    if (IS("setpriority-init")) return setpriority(PRIO_PROCESS, 1, 19);
    if (IS("setpriority-user")) return setpriority(PRIO_USER, getuid(), 19);
    if (IS("sched_setscheduler-init")) return sched_setscheduler(1, SCHED_IDLE, &(struct sched_param){0});
    if (IS("sched_setparam-init")) return sched_setparam(1, &(struct sched_param){0});
    if (IS("sched_setattr")) { /* its size, SCHED_OTHER, its niceness as it is, and a slice of 0.1 ms */
        unsigned attributes[12] = {48, SCHED_OTHER, 0, 0, (unsigned)getpriority(PRIO_PROCESS, 0), 0, 100000};
        return syscall(SYS_sched_setattr, 0, attributes, 0);
    }
    if (IS("sched_setaffinity-init")) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        return sched_setaffinity(1, sizeof one, &one);
    }
    if (IS("ioprio_set-init")) return syscall(SYS_ioprio_set, 1 /* a process */, 1, 3 << 13 /* idle */);
    if (IS("ioprio_set-user")) return syscall(SYS_ioprio_set, 3 /* a user */, getuid(), 3 << 13);
    if (IS("own-filter-prctl")) return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    if (IS("own-filter")) return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    if (IS("memfd")) return syscall(SYS_memfd_create, "x", 0);
    if (IS("shmget")) return syscall(SYS_shmget, 0, 4096, 0600);
    if (IS("pipe-size")) return pipe(ends) ? -2 : fcntl(ends[0], F_SETPIPE_SZ, 8192);
    /* One byte of a page in a socket's or a pipe's queue holds the page. */
    if (IS("sendfile")) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
            return -2;
        return syscall(SYS_sendfile, ends[0], open("/proc/self/exe", O_RDONLY), NULL, 1);
    }
    if (IS("splice"))
        return !filled(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, more) ? -2 : splice(ends[0], NULL, more[0], NULL, 1, 0);
    if (IS("tee")) return !filled(ends) || pipe(more) ? -2 : tee(ends[0], more[1], 1, 0);
    if (IS("vmsplice")) return pipe(ends) ? -2 : vmsplice(ends[1], &(struct iovec){buffer, 1}, 1, 0);
    if (IS("huge-pages"))
        return mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0) == MAP_FAILED ? -1 : 0;
    if (IS("vfork-bomb"))
        for (;;) /* each waits for its child, so the last one goes on */
            vfork();
    if (IS("euid")) return geteuid();
    if (IS("huge-memfd")) return syscall(SYS_memfd_create, "x", 4U /* MFD_HUGETLB */);
    /* No size: with one the kernel alone would say EPERM as well, of what may be locked. */
    if (IS("huge-segment")) return syscall(SYS_shmget, 0, 0, 04000 /* SHM_HUGETLB */ | 0600);
    if (IS("read-init-environ")) return open("/proc/1/environ", O_RDONLY);
    if (IS("write-root")) return open("/planted", O_CREAT | O_WRONLY, 0600);
    fprintf(stderr, "unknown attack %s\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    const char *name = argv[argc - 1];
    if (argc == 3 && strcmp(argv[1], "--unprivileged") == 0) {
        if (ioctl(0, TIOCSCTTY, 0) || (getuid() == 0 && (setgid(65534) || setuid(65534))))
            return 2;
    } else if (argc != 2) {
        return 2;
    }
    errno = 0;
    long result = attempt(name);
    printf("%ld %s\n", result, result < 0 ? strerrorname_np(errno) : "0");
    return 0;
}
