/* Connections to what listens in the box. A connect that takes longer than a moment is handed out unfinished. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common.h"

#define DIAL_MILLISECONDS 100

static int dial(const void *address, socklen_t size) {
    const sa_family_t family = ((const struct sockaddr *)address)->sa_family;
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int problem = connect(fd, address, size) < 0 ? errno : 0;
    if (problem == EINPROGRESS) {
        struct pollfd connecting = {.fd = fd, .events = POLLOUT};
        socklen_t length = sizeof problem;
        poll(&connecting, 1, DIAL_MILLISECONDS);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &length) < 0)
            problem = errno;
    }
    if (problem == 0)
        return fd;
    close(fd);
    return -problem;
}

int dial_tcp(const char *host, uint16_t port) {
    const struct sockaddr_in four = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (strcmp(host, "127.0.0.1") == 0)
        return dial(&four, sizeof four);
    if (strcmp(host, "::1") == 0)
        return dial(&six, sizeof six);
    if (strcmp(host, "localhost") != 0)
        return -EINVAL;
    const int first = dial(&four, sizeof four);
    if (first >= 0)
        return first;
    const int second = dial(&six, sizeof six);
    return second >= 0 ? second : first;
}

int dial_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    if (length >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length);
    return dial(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1));
}
