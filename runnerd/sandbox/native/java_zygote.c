/* Makes a `java` that was started ahead wait, before it loads its program's class, until there is a program for it.
 *
 * Preloaded, it stands between the launcher (libjli) and the JVM: the launcher asks dlsym for JNI_CreateJavaVM, and gets
 * one that makes the JVM and then waits. What comes before and after is the launcher's own. Only the arguments are
 * already counted by then: there are none, and the launcher's first array of length 0 becomes that of the arguments.
 *
 * INIT_ALONG is a socket: one byte out says that it waits; one packet comes, the number of further arguments, the
 * arguments, and NAME=VALUE of further variables, each with a NUL at its end; another byte says that it was taken. The
 * socket's end means that there is no program. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

/* The function table of the Java Native Interface, whose order is part of its specification. */
enum {
    FIND_CLASS = 6,
    GET_STATIC_METHOD_ID = 113,
    CALL_STATIC_OBJECT_METHOD = 114,
    NEW_STRING_UTF = 167,
    NEW_OBJECT_ARRAY = 172,
    SET_OBJECT_ARRAY_ELEMENT = 174,
    NEW_BYTE_ARRAY = 176,
    SET_BYTE_ARRAY_REGION = 208,
};
typedef void *object;
typedef void (**table)(void);
typedef table *environment;
#define CALL(env, function, type, ...) (((type)(*(env))[function])((env), __VA_ARGS__))
#define FIND(env, name) CALL(env, FIND_CLASS, object (*)(environment, const char *), name)

struct option {
    char *text;
    void *extra;
};
struct arguments {
    int32_t version, count;
    struct option *options;
    unsigned char ignore;
};

typedef void *find(void *, const char *);
typedef int create(void **, environment *, struct arguments *);
static create *create_vm;

typedef object array_maker(environment, int, object, object);
static array_maker *usual;       /* NewObjectArray */
static environment launcher;     /* of the launcher's thread */
static const char *command = ""; /* the launcher's, which is the class to run */
static char *words;              /* the arguments, one after the other */
static int count;

/* A string as the launcher makes it of one of its arguments. */
static object string(environment env, object helper, const char *word) {
    const int length = (int)strlen(word);
    object bytes = CALL(env, NEW_BYTE_ARRAY, object (*)(environment, int), length);
    CALL(env, SET_BYTE_ARRAY_REGION, void (*)(environment, object, int, int, const char *), bytes, 0, length, word);
    void *make = CALL(env, GET_STATIC_METHOD_ID, void *(*)(environment, object, const char *, const char *), helper,
                      "makePlatformString", "(Z[B)Ljava/lang/String;");
    return CALL(env, CALL_STATIC_OBJECT_METHOD, object (*)(environment, object, void *, ...), helper, make, 1, bytes);
}

/* The launcher told the JVM its command before it knew all of it. */
static void tell_command(environment env, object helper) {
    size_t size = strlen(command) + 1;
    const char *word = words;
    for (int i = 0; i < count; i++, word += strlen(word) + 1)
        size += strlen(word) + 1;
    char *whole = malloc(size);
    if (whole == NULL)
        return;
    char *end = stpcpy(whole, command);
    word = words;
    for (int i = 0; i < count; i++, word += strlen(word) + 1)
        end = stpcpy(stpcpy(end, " "), word);
    object system = FIND(env, "java/lang/System");
    void *set = CALL(env, GET_STATIC_METHOD_ID, void *(*)(environment, object, const char *, const char *), system,
                     "setProperty", "(Ljava/lang/String;Ljava/lang/String;)Ljava/lang/String;");
    CALL(env, CALL_STATIC_OBJECT_METHOD, object (*)(environment, object, void *, ...), system, set,
         CALL(env, NEW_STRING_UTF, object (*)(environment, const char *), "sun.java.command"), string(env, helper, whole));
    free(whole);
}

static object new_array(environment env, int length, object class, object initial) {
    if (env != launcher || length != 0)
        return usual(env, length, class, initial);
    (*env)[NEW_OBJECT_ARRAY] = (void (*)(void))usual;
    object array = usual(env, count, class, initial);
    object helper = FIND(env, "sun/launcher/LauncherHelper");
    const char *word = words;
    for (int i = 0; i < count; i++, word += strlen(word) + 1)
        CALL(env, SET_OBJECT_ARRAY_ELEMENT, void (*)(environment, object, int, object), array, i,
             string(env, helper, word));
    tell_command(env, helper);
    return array;
}

static void wait_for_program(environment env) {
    const size_t room = 1 << 18;
    char *message = malloc(room + 1);
    if (message == NULL || write(INIT_ALONG, "1", 1) != 1)
        _exit(1);
    const ssize_t length = read(INIT_ALONG, message, room);
    if (length <= 0)
        _exit(0);
    message[length] = '\0';
    if (write(INIT_ALONG, "1", 1) != 1)
        _exit(1);
    close(INIT_ALONG);
    unsetenv("LD_PRELOAD");

    const char *end = message + length;
    count = atoi(message);
    words = message + strlen(message) + 1;
    char *word = words;
    for (int i = 0; i < count && word < end; i++)
        word += strlen(word) + 1;
    for (; word < end; word += strlen(word) + 1) {
        char *value = strchr(word, '=');
        if (value != NULL) {
            *value = '\0';
            setenv(word, value + 1, 1);
            word = value + 1;
        }
    }
    if (count > 0) {
        launcher = env;
        usual = (array_maker *)(*env)[NEW_OBJECT_ARRAY];
        (*env)[NEW_OBJECT_ARRAY] = (void (*)(void))new_array;
    }
}

static int create_and_wait(void **vm, environment *env, struct arguments *arguments) {
    const int result = create_vm(vm, env, arguments);
    if (result != 0)
        return result;
    static const char name[] = "-Dsun.java.command=";
    for (int i = 0; i < arguments->count; i++)
        if (strncmp(arguments->options[i].text, name, sizeof name - 1) == 0)
            command = arguments->options[i].text + sizeof name - 1;
    wait_for_program(*env);
    return 0;
}

/* glibc's own, by the versions that it has had. */
static find *real_dlsym(void) {
    static find *found;
    const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.17", "GLIBC_2.2.5"};
    for (size_t i = 0; found == NULL && i < sizeof versions / sizeof *versions; i++)
        found = (find *)dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    return found;
}

__attribute__((visibility("default"))) void *dlsym(void *handle, const char *name) {
    find *real = real_dlsym();
    if (strcmp(name, "JNI_CreateJavaVM") != 0)
        return real(handle, name); /* a jump: RTLD_NEXT goes by who asks */
    create_vm = (create *)real(handle, name);
    return create_vm == NULL ? NULL : (void *)create_and_wait;
}
