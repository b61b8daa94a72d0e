/* Shared by the C tests. They compile as C11 and as C++. */
#ifndef EXPECT_H
#define EXPECT_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tenure.h"

/* A status; any other one ends the test with the library's text. */
#define EXPECT(status, call) expect(__FILE__, __LINE__, #call, (status), (call))
#define OK(call) EXPECT(TENURE_OK, call)
/* A condition. */
#define HOLDS(what) holds(__FILE__, __LINE__, #what, (what))

static inline void expect(const char *file, int line, const char *call, int expected, int found)
{
    if (found == expected)
        return;
    fprintf(stderr, "%s:%d: %s: expected %d (%s), found %d (%s): %s\n", file, line, call, expected,
            tenure_strerror(expected), found, tenure_strerror(found), tenure_last_error());
    exit(1);
}

static inline void holds(const char *file, int line, const char *what, int is)
{
    if (is)
        return;
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    exit(1);
}

/* Ends this process when its parent dies, or after two minutes. */
static inline void die_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(120);
}

/* Waits for a child and expects that it ended well, or of `signal` if that is not 0. */
static inline void expect_end(pid_t child, int signal)
{
    int status = 0;
    HOLDS(waitpid(child, &status, 0) == child);
    if (signal)
        HOLDS(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    else
        HOLDS(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The space has no violations and nothing pending, and only the named handles and blocks are in use. */
static inline void expect_unharmed(const tenure_space *space, uint64_t handles, uint64_t blocks)
{
    char text[1000] = "";
    size_t violations = 99, pending = 99;
    tenure_stats stats;
    OK(tenure_space_check(space, text, sizeof text, &violations, &pending));
    if (violations)
        fprintf(stderr, "%s\n", text);
    HOLDS(violations == 0);
    OK(tenure_space_stats(space, &stats));
    HOLDS(stats.handles_live == handles);
    HOLDS(stats.blocks_leased + stats.blocks_attached + stats.blocks_pinned == blocks);
}

#endif
