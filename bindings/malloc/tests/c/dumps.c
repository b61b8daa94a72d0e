/* What core dumps have of a process: about as much as it has used, not the address space that the allocator keeps for later. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the mappings that can be written and are not left out of dumps ("dd"). */
static unsigned long dumped(void) {
    char line[512];
    unsigned long total = 0, size = 0;
    int writable = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    if (!file) exit(1);
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) == 3) {
            size = end - start;
            writable = rights[1] == 'w';
        } else if (!strncmp(line, "VmFlags:", 8) && writable && !strstr(line, " dd")) {
            total += size;
        }
    }
    fclose(file);
    return total;
}

int main(void) {
    unsigned long before = dumped(), used = 0;
    for (int i = 0; used < 100ul << 20; i++) {
        size_t bytes = i % 100 ? 1 + i % 5000 : 300000;
        char *at = malloc(bytes);
        if (!at) return 1;
        memset(at, 1, bytes);
        used += bytes;
    }
    unsigned long after = dumped();
    if (before > 128ul << 20 || after < used || after - used > 256ul << 20) {
        printf("used %lu, dumped before %lu, after %lu\n", used, before, after);
        return 1;
    }
    puts("ok");
    return 0;
}
