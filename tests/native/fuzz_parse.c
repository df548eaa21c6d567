/* libFuzzer's harness for init's parser: whatever comes in, what comes out lies within it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

#define CHECK(condition) \
    do                   \
        if (!(condition)) \
            abort();     \
    while (0)

/* A string that begins and ends within the message. */
static void check_string(const char *string, const char *message, size_t size) {
    CHECK(string >= message && string < message + size);
    CHECK(memchr(string, 0, (size_t)(message + size - string)));
}

static void check_path(const char *path) {
    struct split_path split;
    const int result = split_path(path, &split);
    CHECK(result == 0 || result == -EXDEV || result == -EINVAL || result == -ENOENT || result == -ENAMETOOLONG);
    if (result == 0) {
        CHECK(strnlen(split.parent, sizeof split.parent) < sizeof split.parent && *split.parent);
        CHECK(strnlen(split.name, sizeof split.name) < sizeof split.name && *split.name);
        CHECK(!strchr(split.name, '/') && strcmp(split.name, ".") && strcmp(split.name, ".."));
    }
}

static void check_start(const struct request *request, const char *message, size_t size) {
    const struct init_start *start = &request->start;
    CHECK(start->argc >= 1 && start->argc + (uint64_t)start->envc <= INIT_STRINGS_MAX);
    CHECK(start->mode <= INIT_PIPES && start->nice <= 19 && start->rows <= 65535 && start->cols <= 65535);
    for (uint32_t i = 0; i < start->argc; i++)
        check_string(request->argv[i], message, size);
    for (uint32_t i = 0; i < start->envc; i++)
        check_string(request->env[i], message, size);
    CHECK(!request->argv[start->argc] && !request->env[start->envc]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct request request;
    char *message = malloc(size); /* exactly as large, so that one byte too far is seen */
    CHECK(message || !size);
    for (int descriptor = 0; descriptor < 2; descriptor++) {
        if (size)
            memcpy(message, data, size);
        memset(&request, 0xA5, sizeof request);
        const int result = parse_request(message, size, descriptor, &request);
        CHECK(result == 0 || result == -EINVAL || result == -E2BIG);
        CHECK(!size || memcmp(message, data, size) == 0);
        if (size >= sizeof request.head)
            CHECK(memcmp(&request.head, data, sizeof request.head) == 0);
        if (result != 0)
            continue;
        CHECK(!descriptor || request.head.op == INIT_WRITE || request.head.op == INIT_START);
        if (request.path)
            check_string(request.path, message, size);
        if (request.path)
            check_path(request.path);
        if (request.target)
            check_string(request.target, message, size);
        if (request.data)
            CHECK(request.data >= message && request.data + request.size == message + size);
        if (request.head.op == INIT_START)
            check_start(&request, message, size);
        CHECK(request.head.op >= INIT_FILTER && request.head.op <= INIT_DIAL_UNIX);
    }
    struct process_stat stat;
    if (size && parse_stat(message, size, &stat))
        CHECK(memchr(message, ')', size));
    free(message);
    return 0;
}
