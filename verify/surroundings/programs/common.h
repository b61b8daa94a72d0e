/* What the C programs share: the line and the exit status by which a program ends, and locked memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void end(int status, const char *what, const char *text)
{
    char line[1200];
    size_t length = (size_t)snprintf(line, sizeof line, "%s: %s\n", what, text);
    if (write(1, line, length < sizeof line ? length : sizeof line - 1) < 0)
        status = 3;
    _exit(status);
}

static void holds(int is, const char *what)
{
    if (!is)
        end(2, "wrong", what);
}

static long resident_kib(void)
{
    long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%ld %ld", &all, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void lock_memory(const char *when)
{
    const char *wanted = getenv("SCENARIO_LOCK");
    if (wanted && !strcmp(wanted, when) && mlockall(MCL_CURRENT | MCL_FUTURE))
        end(77, "SKIPPED", "mlockall is refused here");
}
