#include "parse.h"

#include <errno.h>
#include <string.h>

struct cursor {
    const char *at;
    size_t left;
};

/* The next NUL-terminated string, or NULL. */
static char *take_string(struct cursor *cursor) {
    const char *end = cursor->left ? memchr(cursor->at, 0, cursor->left) : NULL;
    if (!end)
        return NULL;
    char *string = (char *)cursor->at; /* execve wants them writable; so is the message */
    cursor->left -= (size_t)(end + 1 - string);
    cursor->at = end + 1;
    return string;
}

static int parse_start(struct cursor *rest, struct request *request) {
    struct init_start *start = &request->start;
    if (rest->left < sizeof *start)
        return -EINVAL;
    memcpy(start, rest->at, sizeof *start);
    rest->at += sizeof *start;
    rest->left -= sizeof *start;
    if (start->mode > INIT_PIPES || start->rows > UINT16_MAX || start->cols > UINT16_MAX || start->nice > 19 ||
        start->argc < 1)
        return -EINVAL;
    if (start->argc > INIT_STRINGS_MAX || start->envc > INIT_STRINGS_MAX - start->argc)
        return -E2BIG;

    request->path = take_string(rest);
    if (!request->path)
        return -EINVAL;
    char **next = request->strings;
    const uint32_t counts[] = {start->argc, start->envc};
    char ***const lists[] = {&request->argv, &request->env};
    for (int list = 0; list < 2; list++) {
        *lists[list] = next;
        for (uint32_t i = 0; i < counts[list]; i++)
            if (!(*next++ = take_string(rest)))
                return -EINVAL;
        *next++ = NULL;
    }
    return rest->left ? -EINVAL : 0;
}

static int parse_landlock(struct cursor rest, struct request *request) {
    request->data = rest.at;
    request->size = rest.left;
    if (!rest.left)
        return -EINVAL;
    while (rest.left) {
        const char *folder = take_string(&rest);
        if (!folder || *folder != '/')
            return -EINVAL;
    }
    return 0;
}

int parse_request(char *message, size_t length, bool descriptor, struct request *request) {
    struct init_request *head = &request->head;
    memset(head, 0, sizeof *head);
    request->path = request->target = NULL;
    request->data = NULL;
    request->size = 0;
    request->argv = request->env = NULL;
    if (length < sizeof *head)
        return -EINVAL;
    memcpy(head, message, sizeof *head);
    struct cursor rest = {message + sizeof *head, length - sizeof *head};
    if (descriptor && head->op != INIT_WRITE && head->op != INIT_START)
        return -EINVAL;

    switch (head->op) {
    case INIT_FILTER:
        request->data = rest.at;
        request->size = rest.left;
        return rest.left && rest.left % 8 == 0 ? 0 : -EINVAL;
    case INIT_LANDLOCK:
        return parse_landlock(rest, request);
    case INIT_WRITE:
        request->path = take_string(&rest);
        request->data = rest.at;
        request->size = rest.left;
        return request->path && head->a <= 0777 && head->b <= INIT_TMP && !(descriptor && rest.left) ? 0 : -EINVAL;
    case INIT_MKDIR:
        if (head->a > 0777)
            return -EINVAL;
        /* fall through */
    case INIT_DELETE:
    case INIT_LIST:
    case INIT_OPEN:
        request->path = take_string(&rest);
        return request->path && head->b <= INIT_TMP && !rest.left ? 0 : -EINVAL;
    case INIT_RENAME:
        request->path = take_string(&rest);
        request->target = take_string(&rest);
        return request->path && request->target && head->b <= INIT_TMP && !rest.left ? 0 : -EINVAL;
    case INIT_START:
        return parse_start(&rest, request);
    case INIT_SIGNAL:
        return head->b >= 1 && head->b <= 64 && head->c <= INIT_BOX && !rest.left ? 0 : -EINVAL;
    case INIT_RELEASE:
        return rest.left ? -EINVAL : 0;
    case INIT_DIAL:
        request->path = take_string(&rest);
        return request->path && !rest.left && head->a >= 1 && head->a <= UINT16_MAX ? 0 : -EINVAL;
    case INIT_DIAL_UNIX:
        request->path = take_string(&rest);
        return request->path && *request->path == '/' && !rest.left ? 0 : -EINVAL;
    default:
        return -EINVAL;
    }
}

int split_path(const char *path, struct split_path *split) {
    size_t end = strlen(path);
    if (end == 0)
        return -ENOENT;
    while (end && path[end - 1] == '/')
        end--;
    if (end == 0)
        return -EXDEV;
    size_t start = end;
    while (start && path[start - 1] != '/')
        start--;
    const size_t length = end - start;
    if (length >= sizeof split->name || start >= sizeof split->parent)
        return -ENAMETOOLONG;
    memcpy(split->name, path + start, length);
    split->name[length] = 0;
    if (strcmp(split->name, ".") == 0 || strcmp(split->name, "..") == 0)
        return -EINVAL;
    if (start == 0) {
        memcpy(split->parent, ".", 2);
    } else {
        memcpy(split->parent, path, start); /* with its slash, so that "/x" has the parent "/" */
        split->parent[start] = 0;
    }
    return 0;
}

/* A decimal number after one space; `most` bounds its size. */
static bool take_number(struct cursor *cursor, uint64_t most, int64_t *number) {
    if (cursor->left < 2 || *cursor->at != ' ')
        return false;
    cursor->at++;
    cursor->left--;
    const bool negative = *cursor->at == '-';
    if (negative) {
        cursor->at++;
        cursor->left--;
    }
    uint64_t value = 0;
    bool digits = false;
    for (; cursor->left && *cursor->at >= '0' && *cursor->at <= '9'; cursor->at++, cursor->left--) {
        const uint64_t digit = (uint64_t)(*cursor->at - '0');
        if (value > (most - digit) / 10)
            return false;
        value = value * 10 + digit;
        digits = true;
    }
    *number = negative ? -(int64_t)value : (int64_t)value;
    return digits;
}

/* Skip words that each come after one space. */
static void skip_words(struct cursor *cursor, int words) {
    for (; cursor->left; cursor->at++, cursor->left--)
        if (*cursor->at == ' ' && words-- == 0)
            return;
}

bool parse_stat(const char *text, size_t length, struct process_stat *stat) {
    size_t start = length;
    while (start && text[start - 1] != ')')
        start--;
    struct cursor rest = {text + start, length - start};
    if (!start || rest.left < 2 || *rest.at != ' ')
        return false;
    stat->state = rest.at[1];
    rest.at += 2;
    rest.left -= 2;
    int64_t parent, foreground, started;
    if (!take_number(&rest, INT32_MAX, &parent))
        return false;
    skip_words(&rest, 3); /* group, session, terminal */
    if (!take_number(&rest, INT32_MAX, &foreground))
        return false;
    skip_words(&rest, 13); /* up to and with itrealvalue */
    if (!take_number(&rest, INT64_MAX, &started))
        return false;
    stat->parent = (int32_t)parent;
    stat->foreground = (int32_t)foreground;
    stat->started = (uint64_t)started;
    return true;
}
