/* What core dumps have of a process: about as much as it has used, not the address space that the allocator keeps for later.
 * With an argument: a block is in them. For a region so small that all of it is ready at once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the mappings that can be written and are not left out of dumps ("dd"): of all, or of the one with `only`. */
static unsigned long dumped(const char *only) {
    char line[512];
    unsigned long total = 0, size = 0;
    int counts = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    if (!file) exit(1);
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) == 3) {
            size = end - start;
            int has = (unsigned long)only >= start && (unsigned long)only < end;
            counts = rights[1] == 'w' && (!only || has);
        } else if (!strncmp(line, "VmFlags:", 8) && counts && !strstr(line, " dd")) {
            total += size;
        }
    }
    fclose(file);
    return total;
}

int main(int count, char **arguments) {
    unsigned long before = dumped(0), used = 0;
    if (count > 1) {
        char *block = malloc(1000);
        puts(block && dumped(memset(block, 1, 1000)) ? "ok" : arguments[1]);
        return 0;
    }
    for (int i = 0; used < 100ul << 20; i++) {
        size_t bytes = i % 100 ? 1 + i % 5000 : 300000;
        char *at = malloc(bytes);
        if (!at) return 1;
        memset(at, 1, bytes);
        used += bytes;
    }
    unsigned long after = dumped(0);
    if (before > 128ul << 20 || after < used || after - used > 256ul << 20) {
        printf("used %lu, dumped before %lu, after %lu\n", used, before, after);
        return 1;
    }
    puts("ok");
    return 0;
}
