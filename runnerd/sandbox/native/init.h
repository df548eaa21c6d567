/* The protocol between the daemon and init, PID 1 of every box.
 *
 * One SOCK_SEQPACKET socket, descriptor 3 when init starts, carries it: one message is one packet of at most
 * INIT_MESSAGE_MAX bytes. Integers are native-endian, strings end with a NUL byte. init is started as
 *
 *     init WORK                WORK: absolute path of the work tree, made if it is missing
 *     init DEVPTS ID WORK      as root of the box's user namespace: first gives /dev/pts the options DEVPTS, becomes user
 *                              and group ID without capabilities, and starts anew as `init WORK` (devpts.c)
 *
 * Requests (daemon -> init) are a `struct init_request` and a payload. Every request but FILTER, LANDLOCK and RELEASE
 * that succeed is answered by one reply with the same op and tag (LIST by several). The daemon may send many requests without waiting;
 * init works through them in order. A request that is malformed is answered with -EINVAL and changes nothing.
 *
 * Replies (init -> daemon) are a `struct init_reply` and a payload; descriptors travel as SCM_RIGHTS.
 *
 *  op        request: args, payload [+ descriptors]               reply: result, args, payload [+ descriptors]
 *  HELLO     (sent by init, tag 0, when it is ready)              0; a = Landlock ABI (0 = none);
 *                                                                 fds: O_PATH of /proc, WORK, /tmp, /dev/shm,
 *                                                                 and a NETLINK_SOCK_DIAG socket of the box
 *  FILTER    payload: one BPF program (struct sock_filter[])      only on failure: -errno
 *            loaded onto init itself, so every later child has it
 *  LANDLOCK  payload: folders that may be written, each NUL-      only on failure: -errno
 *            terminated; everything else becomes read-only.
 *            Before FILTER, whose filters need not allow it;
 *            where the kernel has no Landlock nothing is done
 *  WRITE     a = mode bits; payload: path NUL bytes...            0 or -errno; parents are made. Written aside
 *            or path NUL + one descriptor whose content is        (".NAME.runnerd~"), then renamed, so a reader
 *            copied from its offset 0 to its end                  sees the old or the new file whole
 *  MKDIR     a = mode bits; payload: path NUL                     0 or -errno; parents are made; existing is no error
 *  RENAME    payload: from NUL to NUL                             0 or -errno
 *  DELETE    payload: path NUL                                    0 or -errno; recursive, never follows a symlink
 *  LIST      payload: path NUL                                    0, a = 1 when more follows; payload: struct
 *                                                                 init_entry + name NUL, repeated; or -errno
 *  OPEN      payload: path NUL                                    0 + one O_RDONLY|O_NONBLOCK|O_NOFOLLOW descriptor of
 *                                                                 a regular file or folder, or -errno
 *  START     payload: struct init_start, then cwd NUL,            a = pid in the box; fds by mode (below); or -errno
 *            argv NUL..., env NUL... [+ one descriptor,           (of the PTY, chdir or execve)
 *            which becomes the program's INIT_ALONG]
 *  SIGNAL    a = tag of the program's START, b = signal,          0 or -errno (ESRCH: gone; EAGAIN: TREE forks faster
 *            c = scope (below)                                    than it can be found: use BOX)
 *  RELEASE   a = tag of the program's START                       only on failure (ESRCH: gone; EBUSY: START is not answered
 *                                                                 yet). Ends the program's leader, and so hangs up its
 *                                                                 terminal; no EXIT follows any more
 *  DIAL      a = TCP port; payload: host NUL, one of              0 + one connected (or still connecting, after 100 ms)
 *            "127.0.0.1", "::1", "localhost"                      non-blocking socket, or -errno
 *  DIAL_UNIX payload: path NUL (absolute, in the box)             likewise
 *  EXIT      (sent by init; tag = the program's START's)          result = wait status as wait4 gives it; payload:
 *                                                                 struct init_exit
 *
 * Paths of the file work (WRITE to OPEN) are relative to the tree that `b` names (below) and resolved with RESOLVE_BENEATH:
 * absolute paths, "..", and symlinks that lead out are refused by the kernel (EXDEV).
 *
 * A program's processes: init opens the PTYs or pipes and forks a `leader`, which makes a session (setsid) with the first
 * PTY as its terminal, is subreaper for everything the program leaves behind, and starts the program in a process group of
 * its own (the terminal's foreground group). It outlives the program, because a session leader's end hangs its terminal up
 * and the kernel may then throw away output that nobody has read yet. Should a leader be killed first, init tells EXIT with
 * the leader's own status (or START with ECANCELED). Only init speaks, so each thing is told exactly once.
 *
 * Descriptors that START's reply carries: terminal: [master]. split: [master of stdin and stdout, master of stderr].
 * pipes: [write end of stdin, read end of stdout, read end of stderr]. All are non-blocking on the daemon's side only
 * (pipes: O_NONBLOCK is set on the daemon's ends; the program's ends block).
 *
 * Everything init says may be forged by nobody: it and the leaders are not dumpable, ptrace is refused by the filter,
 * only init has the socket. Still the daemon checks each answer.
 */
#ifndef RUNNERD_INIT_H
#define RUNNERD_INIT_H

#include <stdint.h>

#define INIT_SOCKET 3
#define INIT_ALONG 60 /* so high that a program's own descriptors have the numbers that they always have */
#define INIT_MESSAGE_MAX (96 * 1024)
#define INIT_PROGRAMS_MAX 64 /* started and not released yet; beyond: -EAGAIN */
#define INIT_STRINGS_MAX 8192 /* argc + envc; beyond: -E2BIG */
#define INIT_RLIMITS 16
#define INIT_RLIMIT_KEEP UINT64_MAX

enum init_op {
    INIT_HELLO = 1, INIT_FILTER, INIT_LANDLOCK, INIT_WRITE, INIT_MKDIR, INIT_RENAME, INIT_DELETE, INIT_LIST,
    INIT_OPEN, INIT_START, INIT_SIGNAL, INIT_RELEASE, INIT_DIAL, INIT_DIAL_UNIX, INIT_EXIT,
};

enum init_mode { INIT_TERMINAL = 0, INIT_SPLIT = 1, INIT_PIPES = 2 };

enum init_tree { INIT_WORK = 0, INIT_TMP = 1 }; /* WORK, /tmp */

/* FOREGROUND: the terminal's foreground process group (in pipes mode the program's own group).
 * TREE: every descendant of the program's leader, found by walking /proc until a walk finds none left to signal.
 * BOX: every process but init. */
enum init_scope { INIT_FOREGROUND = 0, INIT_TREE = 1, INIT_BOX = 2 };

struct init_request { uint32_t op, tag, a, b, c, d; };      /* 24 bytes, payload follows */

struct init_reply { uint32_t op, tag; int32_t result; uint32_t a; };   /* 16 bytes, payload follows */

struct init_start {                                         /* at the head of START's payload */
    uint32_t mode, rows, cols, nice, argc, envc;            /* nice: the least; a higher one of the daemon's own stays */
    uint64_t rlimits[INIT_RLIMITS];                         /* soft and hard, by RLIMIT_ number; KEEP = leave */
};

struct init_exit { uint64_t cpu_us, max_rss_kib; };         /* user + system of the program and what it waited for */

struct init_entry { uint64_t size, mtime; uint32_t mode; }; /* 24 bytes with padding, name NUL follows; st_mode's bits */

#endif
